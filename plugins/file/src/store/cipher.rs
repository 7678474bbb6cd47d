//! age: what a file of the store is encrypted to, and how it is opened again.

use std::io::{self, Read, Write};
use std::path::Path;

use age::x25519;
use age::{DecryptError, Decryptor, Encryptor};
use zeroize::Zeroizing;

use crate::StoreError;

/// Encrypts to all recipients; each of them alone can decrypt.
pub(super) fn encrypt(recipients: &[x25519::Recipient], content: &[u8]) -> Vec<u8> {
    let recipients = recipients
        .iter()
        .map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(recipients)
        .expect("there is at least our own recipient, and all are of one kind");
    seal(encryptor, content)
}

/// Encrypts with a passphrase.
pub(super) fn encrypt_with(passphrase: &age::scrypt::Recipient, content: &[u8]) -> Vec<u8> {
    let encryptor = Encryptor::with_recipients(std::iter::once(passphrase as &dyn age::Recipient))
        .expect("a passphrase alone is a valid set of recipients");
    seal(encryptor, content)
}

fn seal(encryptor: Encryptor, content: &[u8]) -> Vec<u8> {
    // Header, tags of each 64 KiB, and some room, so that the buffer does not move.
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

/// Decrypts with the first identity that fits.
pub(super) fn decrypt<'a>(
    path: &Path,
    sealed: &[u8],
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error| explain(path, error);
    let decryptor = Decryptor::new_buffered(sealed).map_err(failed)?;
    let mut reader = decryptor.decrypt(identities).map_err(failed)?;
    // The content is shorter than what it is sealed in, so the buffer never moves and leaves no copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader
        .read_to_end(&mut content)
        .map_err(|error| failed(error.into()))?;
    Ok(content)
}

/// Why a file could not be decrypted.
pub(super) enum Failure {
    /// It is damaged.
    Damaged(StoreError),
    /// It is encrypted to somebody else.
    NoMatchingKey,
}

/// Says it in our words: age's own are made by a translation library that would double the size of a plugin.
fn explain(path: &Path, error: DecryptError) -> Failure {
    let reason = match error {
        DecryptError::NoMatchingKeys | DecryptError::KeyDecryptionFailed => {
            return Failure::NoMatchingKey;
        }
        DecryptError::DecryptionFailed => return Failure::NoMatchingKey,
        DecryptError::ExcessiveWork { required, .. } => {
            format!("it asks for an scrypt work factor of {required}, which would take minutes")
        }
        DecryptError::InvalidHeader => "it does not start like an age file".to_owned(),
        DecryptError::InvalidMac => "its age header was changed".to_owned(),
        DecryptError::UnknownFormat => "it is of an age version that is not known here".to_owned(),
        DecryptError::Io(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
            _ => "its content was changed".to_owned(),
        },
        _ => "it cannot be decrypted".to_owned(),
    };
    Failure::Damaged(StoreError::corrupt(path, reason))
}
