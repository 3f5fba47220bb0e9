use super::Message;
use std::marker::PhantomData;

/// The largest file that is put is 1.5 MiB, as Base64; both halves hold a message
/// whole, and the executor is to stay small.
pub const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
const LENGTH_BYTES: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a message of {bytes} bytes is above the limit of {MESSAGE_BYTES_MAX}: send less at once")]
    TooLong { bytes: usize },
    #[error("a message that could not be read")]
    Unreadable {
        /// What it says never quotes a value of the message.
        source: serde_json::Error,
        /// As far as it could be told, so that whoever asked can be answered.
        id: Option<u64>,
    },
    #[error("a message that could not be written")]
    Unwritable { source: serde_json::Error },
}

/// The message with its length before it.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message).map_err(|source| FrameError::Unwritable { source })?;
    let bytes = frame.len() - LENGTH_BYTES;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= MESSAGE_BYTES_MAX);
    let length = length.ok_or(FrameError::TooLong { bytes })?;
    for (place, byte) in frame.iter_mut().zip(length.to_le_bytes()) {
        *place = byte;
    }
    Ok(frame)
}

/// Makes messages of bytes as they come. After a [`FrameError::TooLong`] what follows
/// means nothing: the connection is to be closed.
#[derive(Debug)]
pub struct Decoder<M> {
    bytes: Vec<u8>,
    message: PhantomData<M>,
}

impl<M> Default for Decoder<M> {
    fn default() -> Self {
        Self { bytes: Vec::new(), message: PhantomData }
    }
}

impl<M: Message> Decoder<M> {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `None` until the rest has come.
    pub fn take(&mut self) -> Result<Option<M>, FrameError> {
        let Some((length, rest)) = self.bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLong { bytes: length });
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let read = serde_json::from_slice(body).map_err(|source| FrameError::Unreadable { source, id: id_of(body) });
        self.bytes.drain(..LENGTH_BYTES + length);
        if self.bytes.is_empty() {
            // A large message is rare: its room is not kept.
            self.bytes = Vec::new();
        }
        read.map(Some)
    }
}

fn id_of(body: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Id {
        id: u64,
    }
    serde_json::from_slice::<Id>(body).ok().map(|found| found.id)
}
