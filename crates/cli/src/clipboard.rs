//! The clipboard of the desktop, through one of its programs, or of the terminal (OSC 52).

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::stdio;

/// The largest value in bytes: terminals ignore longer ones.
pub(crate) const MAX_LEN: usize = 64 * 1024;
/// How long a program may take. It answers at once, or its display does not.
const TOOL_LIMIT: Duration = Duration::from_secs(10);

/// A clipboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clipboard {
    /// That of the desktop.
    Desktop(&'static Tool),
    /// That of the terminal on stderr, if the terminal has one. It can be written and not read.
    Terminal,
}

/// A program with arguments for each use.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The variable that names its display.
    display: &'static str,
    copy: &'static [&'static str],
    paste: &'static [&'static str],
    clear: &'static [&'static str],
}

const TOOLS: [Tool; 3] = [
    Tool {
        display: "WAYLAND_DISPLAY",
        copy: &["wl-copy", "--type", "text/plain"],
        paste: &["wl-paste", "--no-newline"],
        clear: &["wl-copy", "--clear"],
    },
    Tool {
        display: "DISPLAY",
        copy: &["xclip", "-selection", "clipboard", "-in"],
        paste: &["xclip", "-selection", "clipboard", "-out"],
        clear: &["xclip", "-selection", "clipboard", "-in"],
    },
    Tool {
        display: "DISPLAY",
        copy: &["xsel", "--clipboard", "--input"],
        paste: &["xsel", "--clipboard", "--output"],
        clear: &["xsel", "--clipboard", "--clear"],
    },
];

impl Clipboard {
    /// Returns the clipboard of this process; `None` if there is neither a desktop with a known program nor a terminal.
    pub(crate) fn of_process() -> Option<Self> {
        Self::find(|name| std::env::var_os(name), io::stderr().is_terminal())
    }

    fn find(lookup: impl Fn(&str) -> Option<OsString>, has_terminal: bool) -> Option<Self> {
        let path = lookup("PATH").unwrap_or_default();
        let is_usable = |tool: &&'static Tool| {
            let display = lookup(tool.display).filter(|display| !display.is_empty());
            display.is_some() && is_program(&path, tool.copy[0]) && is_program(&path, tool.paste[0])
        };
        let desktop = TOOLS.iter().find(is_usable).map(Self::Desktop);
        desktop.or_else(|| has_terminal.then_some(Self::Terminal))
    }

    /// Copies a value.
    ///
    /// # Errors
    ///
    /// Returns the error of the program or of the terminal.
    pub(crate) async fn copy(self, value: &[u8]) -> io::Result<()> {
        match self {
            Self::Desktop(tool) => write(tool.copy, value).await,
            Self::Terminal => {
                let mut sequence = Zeroizing::new(String::with_capacity(2 * value.len() + 16));
                sequence.push_str("\x1b]52;c;");
                STANDARD.encode_string(value, &mut sequence);
                sequence.push('\x07');
                stdio::write_stderr(sequence.as_bytes())
            }
        }
    }

    /// Empties the clipboard, unless it is known to hold something else than `value` by now. Returns `false` if it does.
    ///
    /// # Errors
    ///
    /// Returns the error of the program or of the terminal.
    pub(crate) async fn clear(self, value: &[u8]) -> io::Result<bool> {
        match self {
            Self::Desktop(tool) => {
                let holds_other = match read(tool.paste).await {
                    Ok(present) => *present != value,
                    // It cannot be read: the value may still be there.
                    Err(_) => false,
                };
                if holds_other {
                    return Ok(false);
                }
                write(tool.clear, b"").await.map(|()| true)
            }
            Self::Terminal => stdio::write_stderr(b"\x1b]52;c;!\x07").map(|()| true),
        }
    }
}

/// Whether a folder of `path` has this program.
fn is_program(path: &OsString, name: &str) -> bool {
    std::env::split_paths(path).any(|folder| is_executable(&folder.join(name)))
}

fn is_executable(path: &Path) -> bool {
    let metadata = path.metadata();
    metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Runs a program with this input. It may leave a process behind that serves the clipboard, which is why it inherits no output.
async fn write(words: &[&str], input: &[u8]) -> io::Result<()> {
    let mut child = command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let run = async {
        let mut stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        stdin.write_all(input).await?;
        drop(stdin);
        child.wait().await
    };
    let status = timeout(TOOL_LIMIT, run).await??;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{} ended with {status}",
            words[0]
        ))),
    }
}

/// Returns the output of a program, at most one byte more than a value may have.
async fn read(words: &[&str]) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut child = command(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = Zeroizing::new(Vec::with_capacity(MAX_LEN + 1));
    let run = async {
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        stdout
            .take(MAX_LEN as u64 + 1)
            .read_to_end(&mut output)
            .await
    };
    timeout(TOOL_LIMIT, run).await??;
    Ok(output)
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_the_display_comes_before_the_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        let find = |displays: &[&str], has_terminal| {
            let lookup = |name: &str| match name {
                "PATH" => Some(folder.path().into()),
                name => displays.contains(&name).then(|| ":0".into()),
            };
            Clipboard::find(lookup, has_terminal)
        };
        let both = ["WAYLAND_DISPLAY", "DISPLAY"];
        assert_eq!(find(&both, false), None);
        assert_eq!(find(&both, true), Some(Clipboard::Terminal));
        program("xsel");
        assert_eq!(find(&both, true), Some(Clipboard::Desktop(&TOOLS[2])));
        program("xclip");
        assert_eq!(find(&both, true), Some(Clipboard::Desktop(&TOOLS[1])));
        program("wl-copy");
        assert_eq!(
            find(&both, true),
            Some(Clipboard::Desktop(&TOOLS[1])),
            "no wl-paste"
        );
        program("wl-paste");
        assert_eq!(find(&both, true), Some(Clipboard::Desktop(&TOOLS[0])));
        assert_eq!(
            find(&["DISPLAY"], true),
            Some(Clipboard::Desktop(&TOOLS[1]))
        );
        assert_eq!(find(&[], true), Some(Clipboard::Terminal));
    }
}
