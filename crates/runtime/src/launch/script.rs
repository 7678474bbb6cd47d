//! The first line of a script, read as the kernel reads it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Length of the part of a file that decides how the kernel executes it (`BINPRM_BUF_SIZE`).
pub(super) const HEAD_LEN: usize = 256;

/// The interpreter that the first line of a script names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shebang {
    /// The path of the interpreter.
    pub(super) interpreter: OsString,
    /// The rest of the line, which is one argument.
    pub(super) argument: Option<OsString>,
}

impl Shebang {
    /// Parses the first bytes of a file; `None` if the kernel would not execute it as a script.
    ///
    /// Only the first 255 bytes count: an interpreter that does not end within them is none, and an argument is cut there.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let head = &head[..head.len().min(HEAD_LEN)];
        let line = head.strip_prefix(b"#!")?;
        let line = match line.iter().position(|byte| *byte == b'\n') {
            Some(end) => &line[..end],
            // The end of a short file ends the line as well.
            None if head.len() < HEAD_LEN => line,
            // Without a blank after the interpreter its path may continue beyond the bytes that were read.
            None => line
                .trim_start_blanks()
                .iter()
                .any(|byte| is_blank(*byte) || *byte == 0)
                .then_some(&line[..line.len() - 1])?,
        };
        let line = line.trim_start_blanks();
        let end = line
            .iter()
            .position(|byte| is_blank(*byte) || *byte == 0)
            .unwrap_or(line.len());
        let (interpreter, rest) = line.split_at(end);
        if interpreter.is_empty() {
            return None;
        }
        // After a zero byte the kernel sees nothing.
        let rest = if rest.first() == Some(&0) { &[] } else { rest };
        let rest = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        let argument = rest.trim_start_blanks().trim_end_blanks();
        Some(Self {
            interpreter: OsStr::from_bytes(interpreter).to_owned(),
            argument: (!argument.is_empty()).then(|| OsStr::from_bytes(argument).to_owned()),
        })
    }
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

trait TrimBlanks {
    fn trim_start_blanks(&self) -> &[u8];
    fn trim_end_blanks(&self) -> &[u8];
}

impl TrimBlanks for [u8] {
    fn trim_start_blanks(&self) -> &[u8] {
        let start = self.iter().position(|byte| !is_blank(*byte));
        &self[start.unwrap_or(self.len())..]
    }

    fn trim_end_blanks(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| !is_blank(*byte));
        &self[..end.map_or(0, |end| end + 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(head: &[u8]) -> Option<(String, Option<String>)> {
        let text = |text: OsString| text.into_string().expect("UTF-8");
        let shebang = Shebang::parse(head)?;
        Some((text(shebang.interpreter), shebang.argument.map(text)))
    }

    fn some(interpreter: &str, argument: Option<&str>) -> Option<(String, Option<String>)> {
        Some((interpreter.to_owned(), argument.map(str::to_owned)))
    }

    #[test]
    fn the_interpreter_and_one_argument_are_read() {
        let python = "/usr/bin/python3";
        assert_eq!(
            parse(b"#!/usr/bin/python3 -B\nimport"),
            some(python, Some("-B"))
        );
        assert_eq!(parse(b"#!/usr/bin/python3\n"), some(python, None));
        assert_eq!(parse(b"#!/usr/bin/python3"), some(python, None));
        assert_eq!(parse(b"#! \t/usr/bin/python3 \t\n"), some(python, None));
        assert_eq!(
            parse(b"#!/usr/bin/env -S python3 -B \t\n"),
            some("/usr/bin/env", Some("-S python3 -B"))
        );
        assert_eq!(parse(b"#!/bin/sh\r\n"), some("/bin/sh\r", None));
        assert_eq!(parse(b"#!/bin/sh\0 -x\n"), some("/bin/sh", None));
        assert_eq!(parse(b"#!/bin/sh -x\0y\n"), some("/bin/sh", Some("-x")));
    }

    #[test]
    fn a_file_that_the_kernel_does_not_execute_as_a_script_has_no_shebang() {
        for head in [
            b"".as_slice(),
            b"#",
            b"#!",
            b"#! \t \n/bin/sh",
            b"\x7fELF",
            b" #!/bin/sh\n",
        ] {
            assert_eq!(parse(head), None, "{head:?}");
        }
    }

    #[test]
    fn only_the_first_255_bytes_count() {
        // The kernel does not read beyond the 255th byte, so a path that reaches it may be cut.
        let mut long = b"#!/".to_vec();
        long.resize(HEAD_LEN + 10, b'x');
        assert_eq!(parse(&long), None);
        long[HEAD_LEN - 1] = b' ';
        let path = format!("/{}", "x".repeat(HEAD_LEN - 4));
        assert_eq!(parse(&long), some(&path, None));
        let mut argument = b"#!/bin/sh ".to_vec();
        argument.resize(HEAD_LEN + 10, b'y');
        let cut = "y".repeat(HEAD_LEN - 1 - "#!/bin/sh ".len());
        assert_eq!(parse(&argument), some("/bin/sh", Some(&cut)));
        let mut spaces = b"#!".to_vec();
        spaces.resize(HEAD_LEN, b' ');
        assert_eq!(parse(&spaces), None);
    }
}
