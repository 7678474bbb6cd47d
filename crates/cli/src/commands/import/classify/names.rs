//! What names say about their values.

/// Words that make a value a secret.
const SECRET_WORDS: [&str; 28] = [
    "secret",
    "secrets",
    "token",
    "tokens",
    "password",
    "passwd",
    "passphrase",
    "passwort",
    "pass",
    "pwd",
    "pw",
    "credential",
    "credentials",
    "apikey",
    "secretkey",
    "privatekey",
    "accesskey",
    "authkey",
    "authtoken",
    "accesstoken",
    "bearer",
    "jwt",
    "salt",
    "pepper",
    "pat",
    "psk",
    "webhook",
    "pin",
];

/// Words that make the word `key` after them the name of a secret.
const KEY_WORDS: [&str; 20] = [
    "access",
    "account",
    "api",
    "app",
    "application",
    "auth",
    "client",
    "crypt",
    "deploy",
    "encryption",
    "hmac",
    "license",
    "master",
    "private",
    "secret",
    "service",
    "session",
    "shared",
    "signing",
    "storage",
];

/// Last words of names whose values describe a secret, or where it is.
const DESCRIPTIONS: [&str; 36] = [
    "age",
    "algorithm",
    "alg",
    "count",
    "dir",
    "directory",
    "duration",
    "enabled",
    "endpoint",
    "env",
    "expiration",
    "expires",
    "expiry",
    "file",
    "header",
    "host",
    "id",
    "issuer",
    "length",
    "limit",
    "max",
    "min",
    "name",
    "path",
    "policy",
    "port",
    "prefix",
    "region",
    "rounds",
    "timeout",
    "ttl",
    "type",
    "uri",
    "url",
    "user",
    "username",
];

/// Words of names whose values are random and public.
const PUBLIC_WORDS: [&str; 16] = [
    "public",
    "publishable",
    "pub",
    "commit",
    "sha",
    "sha1",
    "sha256",
    "hash",
    "digest",
    "checksum",
    "integrity",
    "revision",
    "version",
    "uuid",
    "fingerprint",
    "etag",
];

/// Returns the lower-case words of a name: `STRIPE_KEY`, `stripe-key` and `stripeKey` have the same ones.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous = ' ';
    for character in name.chars() {
        let is_start = character.is_ascii_uppercase() && previous.is_ascii_lowercase();
        if is_start || !character.is_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character.is_alphanumeric()) {
            word.extend(character.to_lowercase());
        }
        previous = character;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns why the name is that of a setting, `None` if it may be that of a secret.
pub(super) fn setting_name(name: &str) -> Option<&'static str> {
    let words = words(name);
    if words
        .iter()
        .any(|word| PUBLIC_WORDS.contains(&word.as_str()))
    {
        return Some("named as something public");
    }
    let last = words.last()?;
    DESCRIPTIONS
        .contains(&last.as_str())
        .then_some("named as a description")
}

/// Returns the word by which the name is that of a secret.
pub(super) fn secret_word(name: &str) -> Option<String> {
    let words = words(name);
    let is_key = |pair: &[String]| pair[1] == "key" && KEY_WORDS.contains(&pair[0].as_str());
    if let Some(pair) = words.windows(2).find(|pair| is_key(pair)) {
        return Some(pair.join(" "));
    }
    if let Some(word) = words
        .iter()
        .find(|word| SECRET_WORDS.contains(&word.as_str()))
    {
        return Some(word.clone());
    }
    // `STRIPE_KEY`, but not `SORT_KEY_COLUMN`.
    words
        .last()
        .filter(|word| word.as_str() == "key" && words.len() > 1)
        .cloned()
}

/// Returns `true` if the name alone makes its value a secret.
pub(in super::super) fn is_secret_name(name: &str) -> bool {
    setting_name(name).is_none() && secret_word(name).is_some()
}
