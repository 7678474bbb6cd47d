//! A terminal whose keys a test presses.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use keyway_test_support::{Process, WAIT_LIMIT};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr, tcgetwinsize, tcsetwinsize};

use super::{Home, KEYWAY};

/// A program with a controlling terminal of its own, which is its standard input, output and error.
pub(crate) struct Terminal {
    keyboard: File,
    /// Reads the screen until `open` is dropped.
    reader: JoinHandle<()>,
    open: PipeWriter,
    screen: Receiver<Vec<u8>>,
    seen: String,
    /// Number of bytes of `seen` that [`expect`](Self::expect) has passed.
    expected: usize,
    process: Process,
}

/// The shells with job control that tests run, with the options that make them interactive and read no files.
pub(crate) const SHELLS: [&[&str]; 2] = [&["bash", "--norc", "--noprofile", "-i"], &["dash", "-i"]];

impl Terminal {
    /// Starts one of [`SHELLS`], in which `$K` is `keyway`, and waits for its prompt.
    pub(crate) fn shell(home: &Home, shell: &[&str]) -> Self {
        let mut command = home.command(shell[0]);
        command
            .args(&shell[1..])
            .env_remove("KEYWAY_SOCKET")
            .env("HISTFILE", "/dev/null")
            .env("TERM", "dumb")
            .env("PS1", "ready> ")
            .env("K", KEYWAY);
        let mut terminal = Self::start(&command);
        terminal.expect("ready> ");
        terminal
    }

    /// Starts `command` in a new session in the foreground of a new terminal. `setsid` replaces itself with it, so its
    /// process id is the one of the program.
    pub(crate) fn start(command: &Command) -> Self {
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = File::from(open(name.as_c_str(), flags, Mode::empty()).unwrap());
        let mut setsid = Command::new("setsid");
        setsid
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(command.get_current_dir().unwrap())
            .stdin(line.try_clone().unwrap())
            .stdout(line.try_clone().unwrap())
            .stderr(line);
        let process = Process::spawn(&mut setsid);
        // The command holds this process's ends of the line; without them the screen ends when the program does.
        drop(setsid);
        let keyboard = File::from(keyboard);
        let display = keyboard.try_clone().unwrap();
        let (closed, open) = io::pipe().unwrap();
        let (sender, screen) = channel();
        let reader = std::thread::spawn(move || show(display, &closed, &sender));
        Self {
            keyboard,
            reader,
            open,
            screen,
            seen: String::new(),
            expected: 0,
            process,
        }
    }

    /// Presses these keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `text` is on the screen, behind what was expected before.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen[self.expected..].find(text) {
                self.expected += at + text.len();
                return;
            }
            let piece = self.screen.recv_timeout(WAIT_LIMIT);
            let piece = piece.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
    }

    /// As [`expect`](Self::expect), and returns what is before `text`.
    #[track_caller]
    pub(crate) fn read_until(&mut self, text: &str) -> String {
        let start = self.expected;
        self.expect(text);
        self.seen[start..self.expected - text.len()].to_owned()
    }

    /// Waits for the prompt of the shell, and checks the exit code of its last command.
    #[track_caller]
    pub(crate) fn expect_code(&mut self, code: i32) {
        self.expect("ready> ");
        self.press("echo \"code=$?\"\n");
        self.expect(&format!("code={code}\r\n"));
    }

    /// Presses Ctrl-Z, and waits until the shell has its prompt back.
    #[track_caller]
    pub(crate) fn suspend(&mut self) {
        self.press("\x1a");
        self.expect("Stopped");
        self.expect("ready> ");
    }

    /// Ends the shell.
    #[track_caller]
    pub(crate) fn exit(mut self) {
        self.press("exit\n");
        self.wait();
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let mut size = tcgetwinsize(&self.keyboard).unwrap();
        (size.ws_row, size.ws_col) = (rows, columns);
        tcsetwinsize(&self.keyboard, size).unwrap();
    }

    /// The program's process id.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        self.process.pid()
    }

    /// All that was on the screen so far.
    pub(crate) fn seen(&self) -> &str {
        &self.seen
    }

    /// Returns `true` if the terminal echoes input.
    pub(crate) fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).unwrap().local_modes;
        modes.contains(LocalModes::ECHO)
    }

    /// Waits for the program's end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Closes the terminal, as its window does, and waits for the program's end.
    pub(crate) fn hang_up(self) -> ExitStatus {
        let Self {
            keyboard,
            reader,
            open,
            mut process,
            ..
        } = self;
        drop((keyboard, open));
        reader.join().unwrap();
        process.wait()
    }

    /// Waits for the program's end, and returns all that was on the screen.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        while let Ok(piece) = self.screen.recv_timeout(WAIT_LIMIT) {
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
        (self.process.wait(), self.seen.replace("\r\n", "\n"))
    }
}

/// Reads what is on the screen until `closed` is, or no program has the terminal any more.
fn show(mut display: File, closed: &PipeReader, screen: &Sender<Vec<u8>>) {
    let mut buffer = [0; 1024];
    loop {
        let mut waited = [
            PollFd::new(&display, PollFlags::IN),
            PollFd::new(closed, PollFlags::IN),
        ];
        poll(&mut waited, None).unwrap();
        if !waited[1].revents().is_empty() {
            return;
        }
        // A terminal whose program is gone reads as an error.
        let Ok(n @ 1..) = display.read(&mut buffer) else {
            return;
        };
        if screen.send(buffer[..n].to_vec()).is_err() {
            return;
        }
    }
}
