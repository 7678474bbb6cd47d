//! `keyway rm`: removes a secret from the file store.

use clap::Args;
use keyway_secrets::Id;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::store::{self, StoreOptions};

/// Which secret, and in which store.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The secret's id, such as `web/token`.
    id: Id,
    #[command(flatten)]
    store: StoreOptions,
}

/// Removes all versions of the secret and says where.
pub(crate) fn run(options: &Options) -> Result<Exit, Failure> {
    let store = options.store.open()?;
    let removed = store
        .remove(&options.id)
        .map_err(|error| store::failure(&error))?;
    let (id, dir) = (&options.id, store.dir().display());
    if !removed {
        return Err(Failure::new(
            Exit::NotFound,
            format_args!("there is no secret {id} in the file store {dir}"),
            "Run `keyway ls` to see what there is and which provider has it; only the file store's secrets can be removed here",
        ));
    }
    output::print_text(format_args!("removed {id} from {dir}\n"))
}
