//! What all parts of a running daemon share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use keyway_rpc::Budget;

use crate::audit::Audit;
use crate::config::{Config, PluginConfig, Sha256};
use crate::launch::{Environment, Spawner};
use crate::model;
use crate::model::state::{PluginState, RememberedRegistration};
use crate::name::PluginName;
use crate::plugin::CommandSender;
use crate::registry::{Kind, Registry};
use crate::state::Memory;

/// The name by which the daemon introduces itself to plugins.
const ENGINE_NAME: &str = "keyway";

/// The shared parts of one daemon. Nothing in it is locked across an await.
pub(crate) struct Engine {
    config: ArcSwap<Config>,
    /// What large answers share.
    answer_memory: ArcSwap<Budget>,
    /// Which plugins there are.
    pub(crate) registry: Registry,
    /// How to tell them something.
    pub(crate) controls: Controls,
    /// Starts processes.
    pub(crate) spawner: Spawner,
    /// What of the daemon's environment plugins may see.
    pub(crate) environment: Environment,
    /// Records who asked for what.
    pub(crate) audit: Audit,
    memory: Memory,
    stopping: AtomicBool,
}

impl Engine {
    pub(crate) fn new(config: Config, memory: Memory, spawner: Spawner) -> Arc<Self> {
        Arc::new(Self {
            registry: Registry::new(),
            controls: Controls::default(),
            spawner,
            environment: Environment::new(config.environment.iter().cloned()),
            audit: Audit::new(config.audit.clone()),
            memory,
            stopping: AtomicBool::new(false),
            answer_memory: ArcSwap::from_pointee(Budget::new(config.answer_memory)),
            config: ArcSwap::from_pointee(config),
        })
    }

    /// The current configuration.
    pub(crate) fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Uses another configuration from now on.
    pub(crate) fn set_config(&self, config: Config) {
        if config.audit != self.config.load().audit {
            self.audit.configure(config.audit.clone());
        }
        if config.answer_memory != self.config.load().answer_memory {
            // Answers that are on their way are counted where they were.
            let budget = Budget::new(config.answer_memory);
            self.answer_memory.store(Arc::new(budget));
        }
        self.config.store(Arc::new(config));
    }

    /// The memory that large answers share.
    pub(crate) fn answer_memory(&self) -> Arc<Budget> {
        self.answer_memory.load_full()
    }

    /// Name and version for a plugin that registered.
    pub(crate) fn introduction(&self) -> (Option<String>, Option<String>) {
        (
            Some(ENGINE_NAME.into()),
            Some(self.config.load().version.version.clone()),
        )
    }

    /// Whether a plugin is kept from running: by configuration, else by what was asked for over RPC.
    pub(crate) fn is_disabled(&self, name: &PluginName, config: &PluginConfig) -> bool {
        config.enabled.map_or_else(
            || self.memory.plugin(name).decision() == Some(false),
            |enabled| !enabled,
        )
    }

    /// Whether a plugin that is available runs: if the configuration mentions it or the user enabled it.
    pub(crate) fn is_chosen(&self, name: &PluginName) -> bool {
        self.config.load().mentions(name) || self.memory.plugin(name).decision() == Some(true)
    }

    /// Remembers what was asked for over RPC.
    pub(crate) fn set_disabled(&self, name: &PluginName, disabled: bool) {
        self.remember_of(name, |plugin| plugin.set_decision(Some(!disabled)));
    }

    /// The checksum that a person trusted. One that the state file holds in a form of its own counts as none.
    pub(crate) fn trusted(&self, name: &PluginName) -> Option<Sha256> {
        self.memory.plugin(name).trusted
    }

    /// Remembers that a person trusts the executable with this checksum.
    pub(crate) fn trust(&self, name: &PluginName, checksum: Sha256) {
        self.remember_of(name, |plugin| plugin.trusted = Some(checksum));
    }

    /// What the plugin was when it last registered, also in an earlier run of the daemon.
    pub(crate) fn remembered_kind(&self, name: &PluginName) -> Option<Kind> {
        let remembered = self.memory.plugin(name).registration?;
        Some(match remembered.kind {
            model::Kind::AccessControl => Kind::AccessControl,
            model::Kind::Provider(patterns) => Kind::Provider(patterns.first()?.clone()),
        })
    }

    /// Remembers what a plugin registered as.
    pub(crate) fn remember(&self, name: &PluginName, kind: &Kind) {
        self.remember_of(name, |plugin| {
            plugin.registration = Some(RememberedRegistration {
                kind: match kind {
                    Kind::Provider(pattern) => model::Kind::Provider(vec![pattern.clone()]),
                    Kind::AccessControl => model::Kind::AccessControl,
                },
                file: None,
            });
        });
    }

    fn remember_of(&self, name: &PluginName, change: impl FnOnce(&mut PluginState)) {
        if let Err(error) = self.memory.update(name, change) {
            tracing::error!(plugin = %name, %error, "the daemon will not remember this after a restart");
        }
    }

    /// From now on no plugin may register.
    pub(crate) fn begin_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the daemon is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// The command channels of all plugins, by name.
#[derive(Debug, Default)]
pub(crate) struct Controls(Mutex<BTreeMap<PluginName, CommandSender>>);

impl Controls {
    pub(crate) fn insert(&self, name: PluginName, sender: CommandSender) {
        self.lock().insert(name, sender);
    }

    pub(crate) fn remove(&self, name: &PluginName) {
        self.lock().remove(name);
    }

    pub(crate) fn get(&self, name: &PluginName) -> Option<CommandSender> {
        self.lock().get(name).cloned()
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<(PluginName, CommandSender)> {
        self.lock()
            .iter()
            .map(|(name, sender)| (name.clone(), sender.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PluginName, CommandSender>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
