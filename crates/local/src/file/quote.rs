//! Paths in commands that a user is to run.

use std::path::Path;

/// Returns `path` as one word of a POSIX shell: as it is if that is safe, else in single quotes.
#[must_use]
pub fn shell_quote(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_as_one_word_of_a_shell() {
        for (path, word) in [
            ("/opt/plugins/vault-1.0", "/opt/plugins/vault-1.0"),
            ("/home/a b/c", "'/home/a b/c'"),
            ("/home/it's", r"'/home/it'\''s'"),
            ("/home/$(id)", "'/home/$(id)'"),
            ("", "''"),
        ] {
            assert_eq!(shell_quote(Path::new(path)), word);
        }
    }
}
