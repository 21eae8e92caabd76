//! How far a command is, on a terminal; silence everywhere else.

use changeling::app::HistoryProgress;
pub use changeling::parity::grouped;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, or a moving sign where nobody knows the end. It vanishes when it is dropped.
pub struct Bar {
    bar: ProgressBar,
    history: Option<HistoryProgress>,
}

impl Bar {
    /// A bar that follows a history.
    pub fn new(history: HistoryProgress) -> Self {
        let Some((_, total)) = history.share() else { return Self::without_end() };
        let bar = styled(ProgressBar::new(total), "{spinner} {wide_bar} {percent}%  {msg}");
        Self { bar, history: Some(history) }
    }

    /// A moving sign.
    pub fn without_end() -> Self {
        Self { bar: styled(ProgressBar::new_spinner(), "{spinner} {elapsed}  {msg}"), history: None }
    }

    /// Shows how far it is; `message` is only asked for where somebody sees it.
    pub fn show(&self, message: impl FnOnce() -> String) {
        if self.bar.is_hidden() {
            return;
        }
        if let Some((done, _)) = self.history.as_ref().and_then(HistoryProgress::share) {
            self.bar.set_position(done);
        }
        self.bar.set_message(message());
        self.bar.tick();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn styled(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A size as people read it: `1.4 MB`.
pub fn size(byte_count: u64) -> String {
    let count = byte_count as f64;
    match byte_count {
        0..1_000 => format!("{byte_count} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", count / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count / 1e6),
        _ => format!("{:.2} GB", count / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_rounded() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([7, 1_500, 2_340_000].map(size), ["7 bytes", "1.5 kB", "2.3 MB"]);
    }
}
