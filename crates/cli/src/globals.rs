//! The options of every command, accepted before and after its name.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use keyway_resolver::Address;

use crate::failure::Failure;

/// Options of the whole program.
#[derive(Args, Debug, Default)]
pub(crate) struct Globals {
    /// The daemon's socket: a path, or @NAME for an abstract socket [env: KEYWAY_SOCKET].
    #[arg(long = "socket", value_name = "ADDR", global = true, help_heading = HEADING,
        value_parser = OsStringValueParser::new().try_map(parse_address))]
    sockets: Vec<Address>,
    /// Accept a daemon that runs as this user [env: KEYWAY_DAEMON_UID] [default: the own user].
    #[arg(long, value_name = "UID", global = true, help_heading = HEADING, value_parser = parse_uid)]
    pub(crate) daemon_uid: Option<u32>,
    /// Give up after this time, as in 500ms, 10s or 2m.
    #[arg(long, value_name = "DURATION", global = true, help_heading = HEADING, value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Forbid providers to prompt the user.
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) no_ask: bool,
    /// Print JSON.
    #[arg(long, global = true, help_heading = HEADING)]
    pub(crate) json: bool,
}

const HEADING: &str = "Global options";

impl Globals {
    /// Returns the address of the daemon on the command line, if given.
    pub(crate) fn socket(&self) -> Result<Option<&Address>, Failure> {
        match self.sockets.as_slice() {
            [] => Ok(None),
            [address] => Ok(Some(address)),
            _ => Err(Failure::usage(
                "`--socket` is given twice",
                "Name one daemon; only `keyway serve` takes several addresses",
            )),
        }
    }

    /// Returns all addresses on the command line, for `serve`.
    pub(crate) fn sockets(&self) -> &[Address] {
        &self.sockets
    }
}

fn parse_address(text: OsString) -> Result<Address, keyway_resolver::ParseAddressError> {
    Address::from_os_str(&text)
}

/// Parses a uid. The largest number is not a user: system calls interpret it as "unchanged".
fn parse_uid(text: &str) -> Result<u32, &'static str> {
    let uid = text.parse().ok().filter(|uid| *uid != u32::MAX);
    uid.ok_or("a uid is a whole number from 0 to 4294967294")
}

/// Error of an invalid duration. It does not repeat the text.
const NOT_A_DURATION: &str =
    "a duration is a number and a unit, as in 500ms, 10s, 2m or 1h, and at most a day";

/// Parses a duration in the format of the daemon's configuration.
fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let end_of_number = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(end_of_number.ok_or(NOT_A_DURATION)?);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return Err(NOT_A_DURATION),
    };
    let number: u64 = number.parse().map_err(|_| NOT_A_DURATION)?;
    let duration = number.checked_mul(milliseconds).map(Duration::from_millis);
    duration
        .filter(|duration| !duration.is_zero() && *duration <= DAY)
        .ok_or(NOT_A_DURATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds))
            );
        }
        for text in [
            "",
            "10",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "1d",
            "25h",
            "99999999999999999999s",
            "1 s",
        ] {
            assert_eq!(parse_duration(text), Err(NOT_A_DURATION), "{text}");
        }
    }
}
