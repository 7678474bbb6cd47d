//! The examples and exit codes of each command.

/// Examples, each with what it does, and exit codes, each with its meaning.
pub(crate) struct Page {
    /// The words of the command behind `keyway`; empty for the program itself.
    path: &'static str,
    pub(crate) examples: &'static [(&'static str, &'static str)],
    pub(crate) exit_codes: &'static [(&'static str, &'static str)],
}

impl Page {
    /// Returns the page of a command by its words behind `keyway`.
    pub(crate) fn of(path: &str) -> Option<&'static Self> {
        PAGES.iter().find(|page| page.path == path)
    }
}

const SUCCESS: (&str, &str) = ("0", "success");
const ERROR: (&str, &str) = ("1", "an error that has no other code");
const USAGE: (&str, &str) = ("2", "the command line is invalid");
const NOT_FOUND: (&str, &str) = ("3", "there is no such secret");
const NO_PLUGIN: (&str, &str) = ("3", "there is no such plugin");
const DENIED: (&str, &str) = ("4", "access was denied");
const UNAVAILABLE: (&str, &str) = ("5", "the daemon or a provider is not available");
const NEEDS_USER: (&str, &str) = (
    "6",
    "a store is locked or not logged in, or the user is needed",
);
const CONFIGURATION: (&str, &str) = ("2", "the command line or the configuration is invalid");

/// The codes of a command that reads secrets.
const READ: &[(&str, &str)] = &[
    SUCCESS,
    (
        "1",
        "several secrets match, providers of equal rank disagree, or another error",
    ),
    USAGE,
    NOT_FOUND,
    DENIED,
    UNAVAILABLE,
    NEEDS_USER,
];

/// The codes of a command that changes a store.
const WRITE: &[(&str, &str)] = &[
    SUCCESS,
    ("1", "nothing was changed, or another error"),
    USAGE,
    NOT_FOUND,
    DENIED,
    UNAVAILABLE,
    NEEDS_USER,
];

/// The codes of a command that manages a plugin.
const PLUGIN: &[(&str, &str)] = &[SUCCESS, ERROR, USAGE, NO_PLUGIN, DENIED, UNAVAILABLE];

/// The codes of a command that calls the daemon only.
const DAEMON: &[(&str, &str)] = &[SUCCESS, ERROR, USAGE, DENIED, UNAVAILABLE];

/// The codes of a command that calls no daemon.
const LOCAL: &[(&str, &str)] = &[SUCCESS, ERROR, USAGE];

/// The codes of a command that works on the files of the file store.
const STORE: &[(&str, &str)] = &[
    SUCCESS,
    ("1", "nothing was changed, or another error"),
    USAGE,
    (
        "6",
        "the passphrase is wrong or missing, or the store is locked otherwise",
    ),
];

const PAGES: &[Page] = &[
    Page {
        path: "",
        examples: &[
            ("keyway serve &", "Start the daemon"),
            ("keyway set web/token", "Store a secret that is entered"),
            ("keyway get web/token", "Print it"),
            (
                "TOKEN=se://web/token keyway run -- ./server",
                "Run a program that gets it in a variable",
            ),
        ],
        exit_codes: &[
            SUCCESS,
            (
                "1",
                "error; also if several secrets match a query for one, or if providers of equal rank disagree",
            ),
            (
                "2",
                "the command line, the configuration, an env file or a reference is invalid",
            ),
            ("3", "there is no such secret or plugin"),
            DENIED,
            UNAVAILABLE,
            NEEDS_USER,
        ],
    },
    Page {
        path: "serve",
        examples: &[
            ("keyway serve", "Serve secrets until Ctrl-C"),
            (
                "keyway serve --listen /run/user/1000/test.sock --state-dir /tmp/test --no-config",
                "Run a second daemon with the defaults, at another address and with a state of its own",
            ),
        ],
        exit_codes: &[
            ("0", "the daemon was stopped"),
            ERROR,
            (
                "2",
                "the command line, the configuration or an address is invalid; another start does not help",
            ),
        ],
    },
    Page {
        path: "get",
        examples: &[
            ("keyway get web/token", "Print the value and a line break"),
            (
                "keyway get --value tls/key >key.pem",
                "Write the value byte for byte",
            ),
            (
                "keyway get --json web/token | jq -r .version",
                "Print a part of the metadata",
            ),
            (
                "keyway get --explain web/token",
                "Show which providers were called, and not the value",
            ),
            (
                "keyway get web/token --version 2",
                "Print an earlier version, from the file store",
            ),
        ],
        exit_codes: READ,
    },
    Page {
        path: "ls",
        examples: &[
            ("keyway ls", "List all secrets"),
            ("keyway ls 'web/**'", "List those whose id begins with web/"),
            (
                "keyway ls --json | jq -r '.secrets[].id'",
                "Print the ids alone",
            ),
        ],
        exit_codes: &[
            ("0", "success, also if nothing is listed"),
            ERROR,
            USAGE,
            DENIED,
            UNAVAILABLE,
            NEEDS_USER,
        ],
    },
    Page {
        path: "run",
        examples: &[
            (
                "TOKEN=se://web/token keyway run -- sh -c 'echo \"$TOKEN\"'",
                "Print a secret from a variable; the single quotes keep it from this shell",
            ),
            (
                "keyway run --env-file app.env -- ./server",
                "Run a program with the variables of a file",
            ),
            (
                "keyway run --dry-run --env-file app.env -- ./server",
                "Show which variables would get which secrets",
            ),
            (
                "DATABASE_URL=postgres://shop:se://shop/pw@localhost/shop keyway run -- ./migrate",
                "Insert a secret into a longer value",
            ),
            (
                "keyway run --file NPM_CONFIG_USERCONFIG=web/npmrc -- npm publish",
                "Give a program a file with a secret in it",
            ),
            (
                "keyway run --env-file app.env -- bash",
                "Start a shell that has the secrets",
            ),
        ],
        exit_codes: &[
            (
                "*",
                "that of the command, which may be one of these too, and 128 + n if signal n ended it",
            ),
            ("126", "the command cannot be executed"),
            ("127", "the command does not exist"),
            (
                "1",
                "a value cannot be in an environment, or several secrets match a reference",
            ),
            (
                "2",
                "the command line, an env file or a reference is invalid",
            ),
            NOT_FOUND,
            DENIED,
            UNAVAILABLE,
            NEEDS_USER,
        ],
    },
    Page {
        path: "inject",
        examples: &[
            (
                "keyway inject app.conf.tpl -o app.conf",
                "Write a file that only its owner can read",
            ),
            (
                "keyway inject - <kubeconfig.tpl | kubectl --kubeconfig /dev/stdin get pods",
                "Give a program the result without a file",
            ),
            (
                "curl --netrc-file <(keyway inject netrc.tpl) https://example.com",
                "The same, where the program wants a file name",
            ),
        ],
        exit_codes: &[
            ("0", "written"),
            (
                "1",
                "the output cannot be written, or several secrets match a reference",
            ),
            (
                "2",
                "the template cannot be read, or a reference in it is invalid",
            ),
            NOT_FOUND,
            DENIED,
            UNAVAILABLE,
            NEEDS_USER,
        ],
    },
    Page {
        path: "set",
        examples: &[
            (
                "keyway set web/token",
                "Ask for the value, which is not shown",
            ),
            (
                "gh auth token | keyway set --trim gh/token",
                "Store the output of a program without its line break",
            ),
            (
                "keyway set --from-file key.pem tls/key",
                "Store the content of a file",
            ),
            (
                "keyway set --generate=24 db/password",
                "Store a random value of 24 characters",
            ),
        ],
        exit_codes: WRITE,
    },
    Page {
        path: "import",
        examples: &[
            (
                "keyway import .env",
                "Ask, then move the secrets of a project",
            ),
            (
                "keyway import --dry-run .env ~/.npmrc",
                "Show what would be moved",
            ),
            (
                "keyway import --scan ~/src",
                "List the files that have secrets in them",
            ),
        ],
        exit_codes: &[
            SUCCESS,
            (
                "1",
                "a file or value could not be moved, the answer was no, or --scan found something",
            ),
            (
                "2",
                "the command line is invalid, or a question is needed and there is no terminal",
            ),
            DENIED,
            UNAVAILABLE,
            NEEDS_USER,
        ],
    },
    Page {
        path: "export",
        examples: &[
            (
                "keyway export 'shop/**' -o shop.env",
                "Write an env file that only its owner can read",
            ),
            (
                "eval \"$(keyway export 'shop/**' --format shell)\"",
                "Set the variables of this shell",
            ),
            (
                "keyway export --json >backup.json",
                "Write everything, with metadata",
            ),
        ],
        exit_codes: &[
            SUCCESS,
            (
                "1",
                "the output cannot be written, or a value does not fit the format",
            ),
            USAGE,
            NOT_FOUND,
            DENIED,
            UNAVAILABLE,
            NEEDS_USER,
        ],
    },
    Page {
        path: "rm",
        examples: &[
            ("keyway rm web/token", "Ask, then remove a secret"),
            (
                "keyway rm --yes web/token web/session",
                "Remove two without a question",
            ),
        ],
        exit_codes: WRITE,
    },
    Page {
        path: "mv",
        examples: &[("keyway mv web/tokn web/token", "Correct an id")],
        exit_codes: WRITE,
    },
    Page {
        path: "versions",
        examples: &[(
            "keyway versions web/token",
            "List the versions, removed ones too",
        )],
        exit_codes: READ,
    },
    Page {
        path: "restore",
        examples: &[(
            "keyway restore web/token 2",
            "Make the value of version 2 the current one",
        )],
        exit_codes: WRITE,
    },
    Page {
        path: "store",
        examples: &[
            (
                "keyway store backup keyway.backup",
                "Copy the file store, still encrypted, into one file",
            ),
            ("keyway store rekey", "Encrypt everything to a new key"),
        ],
        exit_codes: STORE,
    },
    Page {
        path: "store backup",
        examples: &[
            (
                "keyway store backup keyway.backup --with-identity",
                "Make a backup that its passphrase alone opens",
            ),
            (
                "keyway store backup --force /mnt/usb/keyway.backup",
                "Replace the former backup, as a cron job does; this asks for nothing",
            ),
        ],
        exit_codes: STORE,
    },
    Page {
        path: "store restore",
        examples: &[
            (
                "keyway store restore keyway.backup --dry-run",
                "Check that a backup opens and is complete",
            ),
            (
                "keyway store restore keyway.backup --identity /mnt/usb/identity.txt",
                "Restore a backup that does not hold its identity, on another machine",
            ),
        ],
        exit_codes: STORE,
    },
    Page {
        path: "store rekey",
        examples: &[(
            "keyway store rekey --keep-old /mnt/usb/identity-2025.txt",
            "Keep the former identity for the backups that it opens",
        )],
        exit_codes: STORE,
    },
    Page {
        path: "store passphrase",
        examples: &[
            (
                "keyway store passphrase",
                "Set or change the passphrase, which is entered without an echo",
            ),
            (
                "keyway store passphrase --passphrase-fd 3 3<passphrases.txt",
                "Read the present one, if there is one, and the new one, a line each",
            ),
            (
                "keyway store passphrase --remove",
                "Store the key without a passphrase",
            ),
        ],
        exit_codes: STORE,
    },
    Page {
        path: "plugins",
        examples: &[
            ("keyway plugins", "Show every plugin with its state"),
            (
                "keyway plugins --json | jq -r '.[] | select(.status != \"running\") | .name'",
                "Print the names of those that do not run",
            ),
        ],
        exit_codes: PLUGIN,
    },
    Page {
        path: "plugins list",
        examples: &[("keyway plugins list", "Show every plugin with its state")],
        exit_codes: DAEMON,
    },
    Page {
        path: "plugins enable",
        examples: &[(
            "keyway plugins enable vault",
            "Start a plugin, now and with the daemon",
        )],
        exit_codes: PLUGIN,
    },
    Page {
        path: "plugins disable",
        examples: &[(
            "keyway plugins disable vault",
            "Stop a plugin, and keep it stopped",
        )],
        exit_codes: PLUGIN,
    },
    Page {
        path: "plugins reload",
        examples: &[(
            "keyway plugins reload",
            "Read the changed configuration, and print what changed",
        )],
        exit_codes: &[
            SUCCESS,
            ("1", "something could not be loaded"),
            CONFIGURATION,
            DENIED,
            UNAVAILABLE,
        ],
    },
    Page {
        path: "plugins trust",
        examples: &[(
            "keyway plugins trust vault",
            "Let a plugin run whose executable is new or has changed",
        )],
        exit_codes: PLUGIN,
    },
    Page {
        path: "plugins untrust",
        examples: &[(
            "keyway plugins untrust vault",
            "Keep a plugin from running until its executable is trusted again",
        )],
        exit_codes: PLUGIN,
    },
    Page {
        path: "audit",
        examples: &[
            (
                "keyway audit --since 2h",
                "Show what was read in the last two hours",
            ),
            (
                "keyway audit --id 'db/**' --json",
                "Print the records about some ids as JSON, one a line",
            ),
        ],
        exit_codes: &[
            SUCCESS,
            ("1", "the log is off, or it cannot be read"),
            CONFIGURATION,
        ],
    },
    Page {
        path: "status",
        examples: &[(
            "keyway status",
            "Show addresses, configuration and plugins of the daemon",
        )],
        exit_codes: DAEMON,
    },
    Page {
        path: "stop",
        examples: &[("keyway stop", "Stop the daemon, and wait for its end")],
        exit_codes: DAEMON,
    },
    Page {
        path: "doctor",
        examples: &[
            ("keyway doctor", "Find what is wrong, and what to do"),
            (
                "keyway doctor --verbose",
                "Show the checks that found nothing, too",
            ),
        ],
        exit_codes: &[
            ("0", "nothing is wrong"),
            ("1", "something is wrong"),
            USAGE,
        ],
    },
    Page {
        path: "service",
        examples: &[(
            "keyway service install",
            "Let systemd start the daemon at the first request",
        )],
        exit_codes: LOCAL,
    },
    Page {
        path: "service install",
        examples: &[(
            "keyway service install",
            "Write the units, and enable the socket; again after an update",
        )],
        exit_codes: LOCAL,
    },
    Page {
        path: "service status",
        examples: &[(
            "keyway service status",
            "Show whether the units are installed, current and active",
        )],
        exit_codes: LOCAL,
    },
    Page {
        path: "service uninstall",
        examples: &[(
            "keyway service uninstall",
            "Stop the service, and remove its units",
        )],
        exit_codes: LOCAL,
    },
    Page {
        path: "config",
        examples: &[
            (
                "keyway config",
                "Show the settings, and whether the daemon has the same",
            ),
            (
                "keyway config check ./config.toml",
                "Check a file before it is used",
            ),
        ],
        exit_codes: &[SUCCESS, ERROR, CONFIGURATION],
    },
    Page {
        path: "config check",
        examples: &[(
            "keyway config check ./config.toml",
            "Check a file before it is used",
        )],
        exit_codes: &[SUCCESS, ERROR, ("2", "the file is invalid")],
    },
    Page {
        path: "version",
        examples: &[(
            "keyway version",
            "Print both versions; without a daemon that is said",
        )],
        exit_codes: LOCAL,
    },
    Page {
        path: "completions",
        examples: &[
            (
                "echo 'source <(keyway completions bash)' >>~/.bashrc",
                "Install the completions of bash",
            ),
            (
                "keyway completions zsh >\"${fpath[1]}/_keyway\"",
                "Those of zsh, in a folder of $fpath that you may write to, before `compinit` runs",
            ),
            (
                "keyway completions fish >~/.config/fish/completions/keyway.fish",
                "Those of fish",
            ),
        ],
        exit_codes: LOCAL,
    },
];
