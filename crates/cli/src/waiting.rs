//! Shows at a terminal what a command waits for: which plugins, and why.

use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::time::Duration;

use keyway_local::escape_untrusted;
use keyway_resolver::Pattern;
use tokio::time::sleep;

use crate::daemon::Daemon;
use crate::globals::Globals;
use crate::inventory::{self, Kind, Plugin, Status};
use crate::output::{columns_of, cut};
use crate::stdio;

/// How long a request may take until the line is shown.
const DELAY: Duration = Duration::from_millis(500);

/// The delay between two looks at the plugins, and how long one may take.
const INTERVAL: Duration = Duration::from_secs(2);

/// Largest number of plugins in the line.
const MAX_NAMES: usize = 3;

/// Awaits `request`, which calls the plugins of these patterns, or manages plugins if there are none. If it takes longer than half a second
/// and stderr is a terminal, a line there says what it waits for, until it ends.
pub(crate) async fn show<T>(
    daemon: &Daemon,
    globals: &Globals,
    patterns: &[Pattern],
    request: impl Future<Output = T>,
) -> T {
    if globals.json || !io::stderr().is_terminal() {
        return request.await;
    }
    let mut request = pin!(request);
    let mut line = Line::default();
    tokio::select! {
        biased;
        result = &mut request => return result,
        () = sleep(DELAY) => {}
    }
    loop {
        let look = async {
            let text = text(daemon, patterns).await;
            line.set(text);
            sleep(INTERVAL).await;
        };
        tokio::select! {
            biased;
            result = &mut request => return result,
            () = look => {}
        }
    }
}

/// Returns what is waited for now.
async fn text(daemon: &Daemon, patterns: &[Pattern]) -> String {
    let daemon = daemon.clone().with_timeout(INTERVAL);
    // A daemon that does not list its plugins in time is itself what is waited for.
    let plugins = inventory::list(&daemon).await.unwrap_or_default();
    format!("keyway: waiting for {}", waited_for(&plugins, patterns))
}

fn waited_for(plugins: &[Plugin], patterns: &[Pattern]) -> String {
    let concerns = |plugin: &&Plugin| {
        let matches = |pattern| plugin.may_match(pattern);
        plugin.kind == Kind::AccessControl || patterns.is_empty() || patterns.iter().any(matches)
    };
    let waited = plugins.iter().filter(concerns);
    // A request without patterns waits for starts, and calls access-control modules alone.
    let is_called = |plugin: &Plugin| !patterns.is_empty() || plugin.kind == Kind::AccessControl;
    let mut reasons: Vec<String> = waited
        .filter_map(|plugin| reason(plugin, is_called(plugin)))
        .collect();
    let n_more = reasons.len().saturating_sub(MAX_NAMES);
    reasons.truncate(MAX_NAMES);
    if n_more > 0 {
        reasons.push(format!("{n_more} more"));
    }
    match reasons.split_last() {
        None => "the daemon".to_owned(),
        Some((only, [])) => only.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}

/// Returns the name of a plugin that is waited for, and why.
fn reason(plugin: &Plugin, is_called: bool) -> Option<String> {
    let why = match plugin.status {
        Status::Starting => "is starting",
        Status::Restarting => "is restarting",
        Status::Running if plugin.in_flight == 0 || !is_called => return None,
        Status::Running if plugin.interactive => "may be asking you",
        Status::Running => "has not responded yet",
        _ => return None,
    };
    Some(format!("{} ({why})", escape_untrusted(&plugin.name)))
}

/// A line of the terminal, erased when it is dropped.
#[derive(Default)]
struct Line {
    shown: String,
}

impl Line {
    /// Replaces the text. The same text is not written again, because a provider may use the terminal meanwhile.
    fn set(&mut self, text: String) {
        if self.shown == text {
            return;
        }
        // A longer line would wrap, and a part of it would remain.
        let columns = columns_of(io::stderr()).unwrap_or(80);
        write(&format!("\r\x1b[K{}", cut(&text, columns - 1)));
        self.shown = text;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.shown.is_empty() {
            write("\r\x1b[K");
        }
    }
}

fn write(text: &str) {
    // A terminal that is closed shows nothing.
    let _ = stdio::write_stderr(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(name: &str, realm: &str, status: Status, in_flight: u32) -> Plugin {
        Plugin {
            name: name.to_owned(),
            realms: vec![realm.to_owned()],
            kind: Kind::Provider,
            status,
            in_flight,
            ..Plugin::default()
        }
    }

    fn check(plugins: &[Plugin], expected: &str) {
        let patterns = ["web/token".parse().unwrap()];
        assert_eq!(waited_for(plugins, &patterns), expected);
    }

    #[test]
    fn the_line_names_the_plugins_that_are_waited_for_and_why() {
        let other = plugin("other", "db/**", Status::Starting, 0);
        let idle = plugin("idle", "**", Status::Running, 0);
        let down = plugin("down", "**", Status::Crashed, 0);
        let vault = plugin("vault", "web/**", Status::Running, 1);
        let mut pass = plugin("pass", "**", Status::Running, 2);
        pass.interactive = true;
        let mut guard = plugin("guard", "", Status::Running, 1);
        guard.kind = Kind::AccessControl;
        check(&[], "the daemon");
        check(&[other, idle, down], "the daemon");
        check(&[vault], "vault (has not responded yet)");
        check(
            &[guard, pass],
            "guard (has not responded yet) and pass (may be asking you)",
        );
        let starting = ["a", "b", "c", "d", "e"];
        let starting = starting.map(|name| plugin(name, "web/*", Status::Starting, 0));
        check(
            &starting,
            "a (is starting), b (is starting), c (is starting) and 2 more",
        );
        let restarting = plugin("x\x1b[2J", "y", Status::Restarting, 0);
        let called = plugin("vault", "web/**", Status::Running, 1);
        let mut module = plugin("policy", "", Status::Running, 1);
        module.kind = Kind::AccessControl;
        assert_eq!(
            waited_for(&[restarting, called, module], &[]),
            "x (is restarting) and policy (has not responded yet)"
        );
    }
}
