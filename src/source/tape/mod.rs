//! A tape: raw changes in a file, to be read again as often as one likes.
//!
//! ```text
//! "changeling tape\n"   16 bytes
//! format version        4 bytes, little-endian as all numbers here
//! header frame, any number of frames of changes, end frame
//!
//! a frame: kind (1 byte), length of the payload (4), length of what it holds (4), CRC-32 of all else in the frame (4),
//!          payload (one zstd frame)
//! ```
//!
//! The format version stands outside of every frame, so that any version can tell a newer tape. Each frame can be checked and
//! unpacked by itself: what is damaged or missing does not spoil what stands before it.

mod error;
mod format;
mod header;
mod payload;
mod playback;
mod reader;
mod writer;

pub use error::TapeError;
pub use format::{FORMAT_VERSION, FRAME_BYTES_MAX};
pub use header::TapeHeader;
pub use payload::{PayloadError, decode_changes};
pub use playback::TapeSource;
pub use reader::{TapeReader, read_slice};
pub use writer::TapeWriter;
