use std::fs;
use std::os::unix::fs::symlink;

use tokio::time::timeout;

use super::*;

/// The bound of a wait for a change that is reported at once on an idle machine.
const LIMIT: Duration = Duration::from_secs(20);

/// Longer than the report of a relevant change takes.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

fn watching(directories: &[PathBuf]) -> FileWatcher {
    let mut watcher = FileWatcher::new().expect("a watcher");
    watcher.watch(directories).expect("watched");
    watcher
}

struct Place {
    directory: tempfile::TempDir,
    watcher: FileWatcher,
}

impl Place {
    /// Watches `plugins`, after `prepare` has put the initial files there.
    fn prepared(prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        prepare(directory.path());
        let watcher = watching(&[directory.path().join("plugins")]);
        Self { directory, watcher }
    }

    fn with_plugins() -> Self {
        Self::prepared(|path| fs::create_dir(path.join("plugins")).expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn assert_changed(&mut self) {
        let changed = timeout(LIMIT, self.watcher.changed()).await;
        changed.expect("a change").expect("events");
    }

    async fn assert_unchanged(&mut self) {
        let changed = timeout(LONG_ENOUGH, self.watcher.changed()).await;
        assert!(changed.is_err(), "nothing of interest happened");
    }
}

#[tokio::test]
async fn a_created_changed_or_removed_file_is_noticed() {
    let mut place = Place::with_plugins();
    let file = place.path("plugins/one");
    fs::write(&file, "first").expect("written");
    place.assert_changed().await;
    fs::write(&file, "second").expect("written");
    place.assert_changed().await;
    fs::rename(&file, place.path("elsewhere")).expect("moved");
    place.assert_changed().await;
    fs::rename(place.path("elsewhere"), &file).expect("moved");
    place.assert_changed().await;
    fs::remove_file(&file).expect("removed");
    place.assert_changed().await;
}

#[tokio::test]
async fn changes_that_follow_each_other_are_reported_once() {
    let mut place = Place::with_plugins();
    for name in ["one", "two", "three"] {
        fs::write(place.path("plugins").join(name), "text").expect("written");
    }
    place.assert_changed().await;
    place.assert_unchanged().await;
}

#[tokio::test]
async fn a_cancelled_wait_loses_no_change() {
    let mut place = Place::with_plugins();
    fs::write(place.path("plugins/one"), "text").expect("written");
    let change = async {
        // Less than a change takes to come to rest.
        while timeout(Duration::from_millis(20), place.watcher.changed())
            .await
            .is_err()
        {}
    };
    timeout(LIMIT, change).await.expect("a change");
}

#[tokio::test]
async fn hidden_files_and_neighbours_are_ignored() {
    let mut place = Place::with_plugins();
    fs::write(place.path("plugins/.one.swp"), "text").expect("written");
    fs::write(place.path("neighbour"), "text").expect("written");
    place.assert_unchanged().await;
}

#[tokio::test]
async fn a_directory_created_later_is_noticed_at_each_step() {
    let mut place = Place::prepared(|_| {});
    fs::create_dir(place.path("plugins")).expect("a directory");
    place.assert_changed().await;

    let directory = tempfile::tempdir().expect("a temporary directory");
    let deep = directory.path().join("share/keyway/plugins");
    let mut watcher = watching(std::slice::from_ref(&deep));
    fs::create_dir_all(&deep).expect("directories");
    let changed = timeout(LIMIT, watcher.changed()).await;
    changed.expect("a change").expect("events");
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_noticed() {
    let mut place = Place::with_plugins();
    fs::rename(place.path("plugins"), place.path("old")).expect("moved");
    place.assert_changed().await;
}

#[tokio::test]
async fn the_file_behind_a_link_is_watched_and_its_neighbours_are_not() {
    let mut place = Place::prepared(|path| {
        fs::create_dir(path.join("plugins")).expect("a directory");
        fs::create_dir(path.join("build")).expect("a directory");
        symlink("../build/one", path.join("plugins/one")).expect("a link");
    });
    fs::write(place.path("build/other"), "text").expect("written");
    place.assert_unchanged().await;
    fs::write(place.path("build/one"), "text").expect("written");
    place.assert_changed().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_watcher_reports_its_failure_after_a_pause() {
    // Reading a socket that was never connected is an error, at once and each time.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        None,
    );
    let mut watcher = FileWatcher {
        events: readable(socket.expect("a socket")).expect("registered"),
        interests: HashMap::new(),
        pending: None,
    };
    let begin = Instant::now();
    for _ in 0..3 {
        watcher.changed().await.expect_err("nothing can be read");
    }
    assert_eq!(begin.elapsed().as_secs(), 3 * FAILURE_PAUSE.as_secs());
}

/// Turns the link at `path` to `target` in one step.
fn turn(path: &Path, target: &str) {
    let next = path.with_extension("next");
    symlink(target, &next).expect("a link");
    fs::rename(&next, path).expect("renamed");
}

/// Two versions of a plugin, and `current`, a link to the first.
fn versions(path: &Path) {
    for version in ["v1", "v2"] {
        fs::create_dir_all(path.join("versions").join(version)).expect("a directory");
        fs::write(path.join("versions").join(version).join("vault"), version).expect("written");
    }
    symlink("v1", path.join("versions/current")).expect("a link");
}

#[tokio::test]
async fn a_link_behind_the_link_to_a_plugin_is_followed() {
    let mut place = Place::prepared(|path| {
        versions(path);
        fs::create_dir(path.join("plugins")).expect("a directory");
        symlink("../versions/current/vault", path.join("plugins/vault")).expect("a link");
    });
    turn(&place.path("versions/current"), "v2");
    place.assert_changed().await;
}

#[tokio::test]
async fn a_link_behind_the_link_to_the_plugin_directory_is_followed() {
    let mut place = Place::prepared(|path| {
        versions(path);
        symlink("versions/current", path.join("plugins")).expect("a link");
    });
    turn(&place.path("versions/current"), "v2");
    place.assert_changed().await;
}

#[test]
fn a_circle_of_links_ends() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    symlink("two", directory.path().join("one")).expect("a link");
    symlink("one", directory.path().join("two")).expect("a link");
    // The kernel follows 40 links.
    assert!(way(&directory.path().join("one")).len() <= 41);
}
