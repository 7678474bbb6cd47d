//! Names that packages and editors leave beside a file.

/// Returns whether a file of this name is a former or a coming version of another: a backup, a half-written file or a
/// leftover of a package manager. Such a copy of a plugin must not run beside it.
pub(super) fn is_backup(file_name: &str) -> bool {
    let is_of_editor = file_name.ends_with('~')
        || (file_name.len() > 1 && file_name.starts_with('#') && file_name.ends_with('#'));
    is_of_editor || has_backup_extension(file_name)
}

/// Numbered backups (`vault.bak.1`) count like plain ones.
fn has_backup_extension(file_name: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut name = file_name.strip_suffix(".exe").unwrap_or(file_name);
    while let Some((rest, extension)) = name.rsplit_once('.') {
        if !is_number(extension) {
            return is_backup_extension(&extension.to_ascii_lowercase());
        }
        name = rest;
    }
    false
}

fn is_backup_extension(extension: &str) -> bool {
    matches!(
        extension,
        "bak" | "orig" | "old" | "new" | "tmp" | "swp" | "swo" | "swx"
    ) || extension.starts_with("dpkg-")
        || extension.starts_with("rpm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packages_and_editors_are_backups() {
        for name in [
            "vault.bak",
            "vault.BAK",
            "vault.bak.2",
            "vault.orig",
            "vault.old",
            "vault.old.exe",
            "vault.new",
            "vault.tmp",
            "vault.dpkg-old",
            "vault.dpkg-new",
            "vault.dpkg-dist",
            "vault.rpmsave",
            "vault.rpmnew",
            "vault.rpmorig",
            "vault~",
            "vault.~1~",
            "#vault#",
            "vault.swp",
        ] {
            assert!(is_backup(name), "{name}");
        }
    }

    #[test]
    fn names_of_plugins_are_not() {
        for name in [
            "vault",
            "old",
            "bak",
            "new.vault",
            "vault-2.1",
            "vault.2",
            "1.2",
            "docker-pass.exe",
            "newrelic",
            "#",
            "vault.rp",
        ] {
            assert!(!is_backup(name), "{name}");
        }
    }
}
