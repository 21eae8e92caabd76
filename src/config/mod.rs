//! The configuration: one YAML file that is composed of each part's own settings.

mod log;

pub use log::{LogFormat, LogLevel, LogSettings};
