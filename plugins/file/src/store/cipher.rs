//! Encryption and decryption with age.

use std::io::{self, Read, Write};
use std::path::Path;

use age::x25519;
use age::{DecryptError, Decryptor, Encryptor};
use zeroize::Zeroizing;

use crate::StoreError;

/// Encrypts to all recipients; each of them can decrypt.
pub(super) fn encrypt(recipients: &[x25519::Recipient], content: &[u8]) -> Vec<u8> {
    let recipients = recipients
        .iter()
        .map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients)
        .expect("there is at least the store's own recipient, and all are of one kind");
    seal(encryptor, content)
}

/// Encrypts with a passphrase.
pub(super) fn encrypt_with(passphrase: &age::scrypt::Recipient, content: &[u8]) -> Vec<u8> {
    let encryptor = Encryptor::with_recipients(std::iter::once(passphrase as &dyn age::Recipient))
        .expect("a passphrase alone is a valid set of recipients");
    seal(encryptor, content)
}

fn seal(encryptor: Encryptor, content: &[u8]) -> Vec<u8> {
    // Header, a tag per 64 KiB, and a reserve, so that the buffer is not reallocated.
    let mut sealed = Vec::with_capacity(content.len() + content.len() / 2048 + 1024);
    encryptor
        .wrap_output(&mut sealed)
        .and_then(|mut writer| {
            writer.write_all(content)?;
            writer.finish()
        })
        .expect("writing into memory does not fail");
    sealed
}

/// Decrypts with the first identity that matches.
pub(super) fn decrypt<'a>(
    path: &Path,
    sealed: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> Result<Zeroizing<Vec<u8>>, CipherError> {
    let failed = |error| convert(path, error);
    let decryptor = Decryptor::new_buffered(sealed).map_err(failed)?;
    let mut reader = decryptor.decrypt(identities).map_err(failed)?;
    // The content is shorter than its encrypted form, so the buffer is never reallocated and leaves no copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader
        .read_to_end(&mut content)
        .map_err(|error| failed(error.into()))?;
    Ok(content)
}

/// Error of a decryption.
pub(super) enum CipherError {
    /// The file is damaged.
    Damaged(StoreError),
    /// The file is encrypted to other recipients.
    NoMatchingKey,
}

/// Converts an error with a fixed text: formatting age's own error links a translation library that would double the
/// size of a plugin.
fn convert(path: &Path, error: DecryptError) -> CipherError {
    let reason = match error {
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => {
            return CipherError::NoMatchingKey;
        }
        DecryptError::DecryptionFailed => return CipherError::NoMatchingKey,
        DecryptError::ExcessiveWork { required, .. } => {
            format!("its scrypt work factor of {required} would take minutes")
        }
        DecryptError::InvalidHeader => "it does not start like an age file".to_owned(),
        DecryptError::InvalidMac => "its age header was changed".to_owned(),
        DecryptError::UnknownFormat => "it has an unsupported age version".to_owned(),
        DecryptError::Io(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof => "it is truncated".to_owned(),
            _ => "its content was changed".to_owned(),
        },
        _ => "it cannot be decrypted".to_owned(),
    };
    CipherError::Damaged(StoreError::corrupt(path, reason))
}
