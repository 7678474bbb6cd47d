//! Messages on standard input and output: four bytes of length, big-endian, then the message.

use std::io;

use anyhow::{Context, Result};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// No message of the suite is anywhere near this long.
const MAX_LENGTH: u32 = 64 * 1024 * 1024;

/// Reads one message; `None` at the end of the input.
pub(crate) async fn read<M: Message + Default>(
    input: &mut (impl AsyncRead + Unpin),
) -> Result<Option<M>> {
    let length = match input.read_u32().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        length => length.context("reading the length of a message")?,
    };
    anyhow::ensure!(
        length <= MAX_LENGTH,
        "the length prefix of a message is {length} bytes"
    );
    let mut message = vec![0; length as usize];
    input
        .read_exact(&mut message)
        .await
        .context("reading a message")?;
    M::decode(message.as_slice())
        .map(Some)
        .context("decoding a message")
}

/// Writes one message and flushes it.
pub(crate) async fn write(
    output: &mut (impl AsyncWrite + Unpin),
    message: &impl Message,
) -> Result<()> {
    let message = message.encode_to_vec();
    output.write_u32(u32::try_from(message.len())?).await?;
    output.write_all(&message).await?;
    output.flush().await.context("writing a message")
}
