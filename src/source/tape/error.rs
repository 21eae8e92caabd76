//! Why a tape can not be read or written.

use std::io;

use super::format::FORMAT_VERSION;
use crate::failure::Disposition;

/// Why a tape can not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    /// The file can not be opened or read.
    #[error("the tape {name} can not be read")]
    Unreadable {
        /// The file.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is a file of this name.
    #[error("the tape {name} can not be written: there is a file of this name\nhelp: give another name, or remove it")]
    Exists {
        /// The file.
        name: String,
    },
    /// The file can not be made or written.
    #[error("the tape {name} can not be written")]
    Unwritable {
        /// The file.
        name: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file holds nothing.
    #[error("the tape {name} is empty\nhelp: record one with changeling record")]
    Empty {
        /// The file.
        name: String,
    },
    /// The file is something else.
    #[error("{name} is not a tape\nhelp: a tape is what changeling record writes")]
    NotATape {
        /// The file.
        name: String,
    },
    /// The format came with a later version of changeling.
    #[error(
        "the tape {name} has the format {found}, and this version reads formats up to {FORMAT_VERSION}\nhelp: read it with the version of changeling that recorded it, or a newer one"
    )]
    Newer {
        /// The file.
        name: String,
        /// The version that was found.
        found: u32,
    },
    /// The file ends before the tape does.
    #[error(
        "the tape {name} ends in the middle, at byte {offset}: it was cut off, or its recording was killed\nhelp: what stands before is good and was read"
    )]
    Truncated {
        /// The file.
        name: String,
        /// Where the part begins that is not whole, in bytes from the start.
        offset: u64,
    },
    /// A part of the file is not what was written.
    #[error("the tape {name} is damaged at byte {offset}: {what}\nhelp: what stands before is good and was read")]
    Damaged {
        /// The file.
        name: String,
        /// Where the damaged part begins, in bytes from the start.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The place to begin at is not on the tape.
    #[error("the tape {name} does not hold the position to begin at\nhelp: begin at its beginning")]
    PositionUnknown {
        /// The file.
        name: String,
    },
    /// One change is larger than a tape can hold.
    #[error("a change of {byte_count} bytes is too large for a tape")]
    Oversize {
        /// Its size with everything that belongs to it, in bytes.
        byte_count: usize,
    },
}

impl TapeError {
    /// What is to be done about it: a tape does not get better by itself.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unreadable { .. }
            | Self::Exists { .. }
            | Self::Unwritable { .. }
            | Self::Empty { .. }
            | Self::NotATape { .. }
            | Self::Newer { .. }
            | Self::Truncated { .. }
            | Self::Damaged { .. }
            | Self::PositionUnknown { .. }
            | Self::Oversize { .. } => Disposition::Stop,
        }
    }
}
