//! The pairings of implementations.

use std::{fmt, io, str::FromStr, sync::Arc, time::Duration};

use keyway_interop::GoPrograms;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::UnixStream,
    task::JoinSet,
};

use crate::{
    actor::Actor,
    go::GoPeer,
    implementations,
    script::{End, Settings},
};
use keyway_test_support::wire::wire;

/// The implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// `keyway-mux`.
    Native,
    /// HashiCorp's library for Go.
    Go,
    /// The `yamux` crate.
    Yamux,
    /// The `tokio-yamux` crate.
    TokioYamux,
}

impl Implementation {
    /// Its name in those of the pairings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Go => "go",
            Self::Yamux => "yamux",
            Self::TokioYamux => "tokio_yamux",
        }
    }

    /// Returns `true` if it may fail classes, according to the committed list.
    pub fn is_foreign(self) -> bool {
        matches!(self, Self::Yamux | Self::TokioYamux)
    }
}

/// The implementations of the client and of the server, and the runtime of those in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// The implementation of the client.
    pub client: Implementation,
    /// The implementation of the server.
    pub server: Implementation,
    /// `true` if the runtime has two threads. Otherwise it has one.
    pub is_threaded: bool,
}

impl Pairing {
    /// All tested pairings. Go against itself validates the model.
    pub const ALL: [Self; 10] = {
        use Implementation::{Go, Native, TokioYamux, Yamux};
        const fn pairing(
            client: Implementation,
            server: Implementation,
            is_threaded: bool,
        ) -> Pairing {
            Pairing {
                client,
                server,
                is_threaded,
            }
        }
        [
            pairing(Native, Native, false),
            pairing(Native, Native, true),
            pairing(Native, Go, false),
            pairing(Native, Go, true),
            pairing(Go, Native, false),
            pairing(Go, Go, false),
            pairing(Native, Yamux, false),
            pairing(Yamux, Native, false),
            pairing(Native, TokioYamux, false),
            pairing(TokioYamux, Native, false),
        ]
    };

    /// The implementation of an end.
    pub fn implementation(self, end: End) -> Implementation {
        match end {
            End::Client => self.client,
            End::Server => self.server,
        }
    }

    /// Returns `true` if the clock is the real one and the connection a socket. Otherwise the clock is paused
    /// and the connection in memory.
    pub fn is_real(self) -> bool {
        self.is_threaded || self.needs_go()
    }

    /// Returns `true` if it needs the Go program.
    pub fn needs_go(self) -> bool {
        End::BOTH
            .map(|end| self.implementation(end))
            .contains(&Implementation::Go)
    }

    /// The ends that may close a session in which streams continue to their end. HashiCorp's
    /// library cuts them off, so it closes only against itself.
    pub fn drains(self) -> Vec<End> {
        let is_go = |end: &End| self.implementation(*end) == Implementation::Go;
        End::BOTH.into_iter().filter(|end| !is_go(end)).collect()
    }

    /// Returns the limit for a script: of the paused clock, or of the real one. Pings often
    /// are expensive for a clock that jumps from one to the next.
    pub(crate) fn limit(self, settings: &Settings) -> Duration {
        let often = settings.keep_alive < 1000;
        Duration::from_secs(match (self.is_real(), often) {
            (true, _) => 20,
            (false, true) => 5,
            (false, false) => 60,
        })
    }
}

impl fmt::Display for Pairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.client.name(), self.server.name())?;
        f.write_str(if self.is_threaded { "-threads" } else { "" })
    }
}

impl FromStr for Pairing {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|it| it.to_string() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|pairing| pairing.to_string()).join(", ");
            format!("there is no pairing {name:?}; the pairings are {names}")
        })
    }
}

/// Both ends of a session, and the tasks between them.
pub(crate) struct Pair {
    pub(crate) actors: [Arc<dyn Actor>; 2],
    _between: JoinSet<()>,
}

/// Creates sessions of one pairing. Its Go programs are reused.
pub(crate) struct Stage {
    pairing: Pairing,
    programs: Option<GoPrograms>,
    go: [Option<GoPeer>; 2],
}

impl Stage {
    pub(crate) fn new(pairing: Pairing, programs: Option<GoPrograms>) -> Self {
        Self {
            pairing,
            programs,
            go: [None, None],
        }
    }

    /// Drops the Go programs, which may be in any state after a failure.
    pub(crate) fn clear(&mut self) {
        self.go = [None, None];
    }

    /// A new session.
    ///
    /// # Errors
    ///
    /// Fails if the Go program cannot be started, or does not respond.
    pub(crate) async fn pair(&mut self, settings: &Settings) -> io::Result<Pair> {
        let mut between = JoinSet::new();
        let Pairing { client, server, .. } = self.pairing;
        let is_go = (client == Implementation::Go, server == Implementation::Go);
        let actors = match is_go {
            (true, true) => {
                let (mut near, client) = self.go_end(End::Client, settings).await?;
                let (mut far, server) = self.go_end(End::Server, settings).await?;
                between.spawn(async move {
                    // The sessions observe its end.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
                [client, server]
            }
            (true, false) => {
                let (connection, client) = self.go_end(End::Client, settings).await?;
                [client, rust_end(server, connection, End::Server, settings)]
            }
            (false, true) => {
                let (connection, server) = self.go_end(End::Server, settings).await?;
                [rust_end(client, connection, End::Client, settings), server]
            }
            (false, false) if self.pairing.is_real() => {
                let (near, far) = UnixStream::pair()?;
                rust_ends(self.pairing, near, far, settings)
            }
            (false, false) => {
                let (near, far) = wire(settings.capacity, settings.chunk);
                rust_ends(self.pairing, near, far, settings)
            }
        };
        Ok(Pair {
            actors,
            _between: between,
        })
    }

    async fn go_end(
        &mut self,
        end: End,
        settings: &Settings,
    ) -> io::Result<(UnixStream, Arc<dyn Actor>)> {
        let peer = match &mut self.go[end.index()] {
            Some(peer) => peer,
            empty => {
                let programs = self.programs.as_ref();
                let programs = programs.ok_or_else(|| io::Error::other("Go is not installed"))?;
                empty.insert(GoPeer::start(programs).await?)
            }
        };
        let (connection, actor) = peer.session(end, settings).await?;
        Ok((connection, Arc::new(actor)))
    }
}

fn rust_ends<T>(pairing: Pairing, near: T, far: T, settings: &Settings) -> [Arc<dyn Actor>; 2]
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    [
        rust_end(pairing.client, near, End::Client, settings),
        rust_end(pairing.server, far, End::Server, settings),
    ]
}

fn rust_end<T>(
    implementation: Implementation,
    io: T,
    end: End,
    settings: &Settings,
) -> Arc<dyn Actor>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match implementation {
        Implementation::Yamux => Arc::new(implementations::yamux_crate(io, end, settings)),
        Implementation::TokioYamux => Arc::new(implementations::tokio_yamux(io, end, settings)),
        Implementation::Native | Implementation::Go => {
            Arc::new(implementations::native(io, end, settings))
        }
    }
}
