//! A terminal whose keys a test presses.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

/// How long anything that was expected may take; far longer than it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program that has a terminal of its own as its controlling one, with stdin, stdout and stderr on it.
pub struct Terminal {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    /// How much of `seen` has been expected.
    expected: usize,
    child: Child,
}

impl Terminal {
    /// Starts `command` in a new session in the foreground of a new terminal. `setsid` replaces itself with it, so its
    /// process id is the one of the program.
    pub fn start(command: &Command) -> Self {
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
        let child = setsid.spawn().unwrap();
        // The command holds our ends of the line; without them the screen ends when the program does.
        drop(setsid);
        let keyboard = File::from(keyboard);
        let mut display = keyboard.try_clone().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            // A terminal whose program is gone reads as an error.
            while let Ok(n @ 1..) = display.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            keyboard,
            screen,
            seen: String::new(),
            expected: 0,
            child,
        }
    }

    /// Presses these keys.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this is on the screen, behind what was expected before.
    pub fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen[self.expected..].find(text) {
                self.expected += at + text.len();
                return;
            }
            let piece = self.screen.recv_timeout(PATIENCE);
            let piece = piece.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.seen));
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
    }

    /// The program's process id.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// All modes of the terminal, as text.
    pub fn modes(&self) -> String {
        let modes = tcgetattr(&self.keyboard).unwrap();
        format!("{modes:?}")
    }

    /// All that was on the screen so far.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Whether the terminal shows what is typed.
    pub fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).unwrap().local_modes;
        modes.contains(LocalModes::ECHO)
    }

    /// Waits for the program's end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Waits for the program's end, and gives all that was on the screen.
    pub fn end(mut self) -> (ExitStatus, String) {
        while let Ok(piece) = self.screen.recv_timeout(PATIENCE) {
            self.seen.push_str(&String::from_utf8_lossy(&piece));
        }
        (self.child.wait().unwrap(), self.seen.replace("\r\n", "\n"))
    }
}
