//! Copies between the command and the standard descriptors of this process while it waits for signals.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use libc::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGWINCH};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::process::{Pid, Signal, getpid, kill_process_group};
use rustix::stdio::stdin;

use super::channel::Channel;
use super::filter::Values;
use super::streams::Streams;
use super::terminal::Keyboard;
use crate::commands::run::supervise::{Host, stop_like};
use crate::sys::{self, ReceivedSignal, SignalQueue};

/// How often a job in the background looks whether it is in the foreground again: a shell sends no signal to one that runs.
const FOREGROUND_INTERVAL: Duration = Duration::from_secs(1);

/// Largest number of reads after the end of the command, in pieces of 4 KiB: more than a pipe or a terminal holds.
const MAX_DRAIN_READS: usize = 1024;

/// All streams, and the signals of this process.
pub(super) struct Relay<'a> {
    signals: SignalQueue,
    channels: Vec<Channel<'a>>,
    child: Pid,
    input: Option<Input>,
}

/// The input of an interactive command.
struct Input {
    keyboard: Keyboard,
    has_ended: bool,
    /// What was typed and not yet taken.
    typed: Vec<u8>,
}

/// What is ready. All indices are those of the channels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Signal,
    Readable(usize),
    Writable(usize),
    Typed,
    TakesInput(usize),
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        values: &'a Values,
        streams: Streams,
        signals: SignalQueue,
        child: Pid,
    ) -> io::Result<Self> {
        let is_interactive = streams.is_interactive;
        let sources = streams.into_sources().into_iter();
        let channels = sources.map(|(source, target)| Channel::new(source, target, values));
        let input = match is_interactive {
            false => None,
            true => {
                let mut keyboard = Keyboard::new();
                keyboard.try_enter()?;
                Some(Input {
                    keyboard,
                    has_ended: false,
                    typed: Vec::new(),
                })
            }
        };
        Ok(Self {
            signals,
            channels: channels.collect(),
            child,
            input,
        })
    }

    /// Copies the rest of the output after the command has ended, without waiting for programs that it has left behind. Returns `true` if
    /// there are any that can still write. A signal that ends programs ends this wait for a slow reader.
    pub(super) fn drain(&mut self) -> io::Result<bool> {
        // The terminal stays raw until everything is written, because the command's has processed the output.
        let input = self.input.take();
        // What was left behind may write without end.
        for _ in 0..MAX_DRAIN_READS {
            let now = Instant::now();
            let mut has_read = false;
            for channel in &mut self.channels {
                match channel.read(now)? {
                    true => has_read = true,
                    false => channel.flush(),
                }
            }
            while self.is_writing() {
                let is_end = |signal: ReceivedSignal| {
                    matches!(signal.number, SIGHUP | SIGINT | SIGQUIT | SIGTERM)
                };
                if self.step(false)?.is_some_and(is_end) {
                    return Ok(false);
                }
            }
            if !has_read {
                break;
            }
        }
        // With the controlling terminal the end of its session closes it.
        Ok(input.is_none() && !self.channels.iter().all(Channel::has_ended))
    }

    fn is_writing(&self) -> bool {
        self.channels
            .iter()
            .any(|channel| channel.writable().is_some())
    }

    /// Copies until all streams have ended. Signals are not looked at.
    pub(super) fn copy_all(&mut self) -> io::Result<()> {
        while !self.channels.iter().all(Channel::has_ended) {
            self.step(true)?;
        }
        Ok(())
    }

    /// Waits until something is ready, and does that. Returns a signal if one has arrived. With `reads` streams are read as well as
    /// written.
    fn step(&mut self, reads: bool) -> io::Result<Option<ReceivedSignal>> {
        let mut signal = None;
        for event in self.wait(reads)? {
            let now = Instant::now();
            match event {
                Event::Signal => signal = self.signals.try_next()?,
                Event::Readable(index) => {
                    self.channels[index].read(now)?;
                }
                Event::Writable(index) => self.channels[index].write()?,
                Event::Typed => self.read_keyboard()?,
                Event::TakesInput(index) => self.write_input(index)?,
            }
        }
        let now = Instant::now();
        self.channels
            .iter_mut()
            .for_each(|channel| channel.expire(now));
        self.look_for_foreground()?;
        Ok(signal)
    }

    /// Returns what is ready, after at least one thing is or a timeout has expired.
    fn wait(&self, reads: bool) -> io::Result<Vec<Event>> {
        let waits = self.waits(reads);
        let descriptors = waits.iter();
        let mut descriptors: Vec<PollFd<'_>> = descriptors
            .map(|(_, descriptor, flags)| PollFd::from_borrowed_fd(*descriptor, *flags))
            .collect();
        let timeout = self.timeout(Instant::now());
        let timeout = timeout.map(|timeout| {
            Timespec::try_from(timeout).expect("all timeouts are of a second or less")
        });
        match poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = waits.iter().zip(&descriptors);
        let ready = ready.filter(|(_, descriptor)| !descriptor.revents().is_empty());
        Ok(ready.map(|((event, ..), _)| *event).collect())
    }

    /// Returns the descriptors to wait for.
    fn waits(&self, reads: bool) -> Vec<(Event, BorrowedFd<'_>, PollFlags)> {
        let mut waits = vec![(Event::Signal, self.signals.as_fd(), PollFlags::IN)];
        for (index, channel) in self.channels.iter().enumerate() {
            if let Some(source) = channel.readable().filter(|_| reads) {
                waits.push((Event::Readable(index), source, PollFlags::IN));
            }
            if let Some(target) = channel.writable() {
                waits.push((Event::Writable(index), target, PollFlags::OUT));
            }
            if let (Some(input), Some((pty, _))) = (&self.input, channel.pty())
                && !input.typed.is_empty()
            {
                waits.push((Event::TakesInput(index), pty.as_fd(), PollFlags::OUT));
            }
        }
        if self.input.as_ref().is_some_and(Input::is_read) {
            waits.push((Event::Typed, stdin(), PollFlags::IN));
        }
        waits
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let held = self
            .channels
            .iter()
            .filter_map(|channel| channel.timeout(now));
        let input = self.input.as_ref();
        let is_background = input.is_some_and(|input| !input.keyboard.is_raw());
        held.chain(is_background.then_some(FOREGROUND_INTERVAL))
            .min()
    }

    fn look_for_foreground(&mut self) -> io::Result<()> {
        match &mut self.input {
            Some(input) => input.keyboard.try_enter(),
            None => Ok(()),
        }
    }

    fn read_keyboard(&mut self) -> io::Result<()> {
        let Some(input) = &mut self.input else {
            return Ok(());
        };
        // If only the supervisor was stopped, the shell has the terminal.
        if !input.keyboard.is_foreground() {
            input.keyboard.leave();
            return Ok(());
        }
        let mut buffer = [0; 1024];
        match read(stdin(), &mut buffer) {
            Ok(0) | Err(Errno::IO) => input.has_ended = true,
            Ok(n) => input.typed.extend_from_slice(&buffer[..n]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn write_input(&mut self, index: usize) -> io::Result<()> {
        let (Some(input), Some((pty, _))) = (&mut self.input, self.channels[index].pty()) else {
            return Ok(());
        };
        match write(pty, &input.typed) {
            Ok(n) => {
                input.typed.drain(..n);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::IO) => input.typed.clear(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn resize(&self) {
        for (pty, target) in self.channels.iter().filter_map(Channel::pty) {
            // A terminal that is closed has no size.
            let _ = pty.resize(target);
        }
    }
}

impl Input {
    fn is_read(&self) -> bool {
        self.keyboard.is_raw() && !self.has_ended && self.typed.is_empty()
    }
}

impl Host for Relay<'_> {
    fn next_signal(&mut self) -> io::Result<ReceivedSignal> {
        loop {
            let Some(signal) = self.step(true)? else {
                continue;
            };
            if signal.number != SIGWINCH {
                return Ok(signal);
            }
            self.resize();
            // The kernel sends it to the foreground of a controlling terminal. A command without one may have looked at the
            // size before it was changed.
            if self.input.is_none() {
                return Ok(ReceivedSignal {
                    is_from_kernel: false,
                    ..signal
                });
            }
        }
    }

    fn child_stopped(&mut self, number: i32) -> io::Result<()> {
        let Some(input) = &mut self.input else {
            return stop_like(self.child, number);
        };
        input.keyboard.leave();
        // Only this signal stops a process of a group without a shell. The supervisor stops our job.
        sys::send(getpid(), SIGSTOP)?;
        input.keyboard.try_enter()?;
        self.resize();
        Ok(())
    }

    fn forward(&mut self, number: i32) -> io::Result<()> {
        match number {
            // A key has stopped all processes of its group.
            SIGCONT if self.input.is_some() => Ok(kill_process_group(self.child, Signal::CONT)?),
            SIGCHLD => Ok(()),
            number => sys::send(self.child, number),
        }
    }
}
