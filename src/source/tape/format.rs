//! The frames of a tape: what is written around every payload, and how it is checked.

/// The first bytes of every tape.
pub(super) const MAGIC: [u8; 16] = *b"changeling tape\n";

/// The format that this version writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The most that a frame may hold, packed or not, in bytes: what a server sends of one change (16 MiB for the change, as much
/// for each of its images and for a document that was looked up) fits in, and a damaged length can not make us take more.
pub const FRAME_BYTES_MAX: usize = 128 << 20;

/// The bytes before a payload.
pub(super) const FRAME_HEAD_BYTES: usize = 13;

/// How hard zstd tries; 3 is its own default, and faster than any server sends.
pub(super) const COMPRESSION_LEVEL: i32 = 3;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// What the tape says of itself.
    Header,
    /// Changes, in the order of the log.
    Changes,
    /// Nothing follows.
    End,
}

impl FrameKind {
    fn byte(self) -> u8 {
        match self {
            Self::Header => b'h',
            Self::Changes => b'c',
            Self::End => b'e',
        }
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Header, Self::Changes, Self::End].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) kind: FrameKind,
    /// The length of the payload as it stands in the file, in bytes.
    pub(super) packed_length: usize,
    /// The length of what it holds, in bytes.
    pub(super) plain_length: usize,
    checksum: u32,
}

impl FrameHead {
    /// The head of a payload; nothing if it is too long for a frame.
    pub(super) fn of(kind: FrameKind, packed: &[u8], plain_length: usize) -> Option<Self> {
        if packed.len() > FRAME_BYTES_MAX || plain_length > FRAME_BYTES_MAX {
            return None;
        }
        let mut head = Self { kind, packed_length: packed.len(), plain_length, checksum: 0 };
        head.checksum = head.checksum_over(packed);
        Some(head)
    }

    /// The head as it is written.
    pub(super) fn encode(&self) -> [u8; FRAME_HEAD_BYTES] {
        let mut bytes = [0; FRAME_HEAD_BYTES];
        bytes[..9].copy_from_slice(&self.encode_without_checksum());
        bytes[9..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Lengths are bounded by [`FRAME_BYTES_MAX`], and so fit into 32 bits.
    fn encode_without_checksum(&self) -> [u8; 9] {
        let mut bytes = [self.kind.byte(); 9];
        bytes[1..5].copy_from_slice(&(self.packed_length as u32).to_le_bytes());
        bytes[5..].copy_from_slice(&(self.plain_length as u32).to_le_bytes());
        bytes
    }

    /// Reads a head.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(bytes: &[u8; FRAME_HEAD_BYTES]) -> Result<Self, &'static str> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let kind = FrameKind::of(bytes[0]).ok_or("there is no frame of this kind")?;
        let head =
            Self { kind, packed_length: number(1) as usize, plain_length: number(5) as usize, checksum: number(9) };
        if head.packed_length > FRAME_BYTES_MAX || head.plain_length > FRAME_BYTES_MAX {
            return Err("a frame is longer than any can be");
        }
        Ok(head)
    }

    /// True if head and payload are as they were written.
    pub(super) fn is_intact(&self, packed: &[u8]) -> bool {
        self.checksum == self.checksum_over(packed)
    }

    fn checksum_over(&self, packed: &[u8]) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        hash.update(&self.encode_without_checksum());
        hash.update(packed);
        hash.finalize()
    }
}
