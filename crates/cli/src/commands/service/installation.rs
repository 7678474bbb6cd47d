//! What is installed for systemd: the units of this program, those of a package, and the variables of the service.

use super::environment::DropIn;
use super::manager::Manager;
use super::package::Package;
use super::units::{self, Unit, UnitState};
use crate::failure::Failure;

/// What is installed, and where it belongs.
pub(super) struct Installation {
    /// The units of this program, each with what is at its path. The socket is the first.
    pub(super) units: [(Unit, UnitState); 2],
    /// The units of a package, which systemd uses if those of this program are absent.
    pub(super) package: Option<Package>,
    /// Whether the package has installed this program.
    pub(super) is_package_of_program: bool,
    pub(super) drop_in: DropIn,
}

impl Installation {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// Returns a [`Failure`] if systemd does not respond, or if a file cannot be read.
    pub(super) fn read() -> Result<Self, Failure> {
        let manager = Manager::read()?;
        let directory = units::directory(&manager)?;
        let program = units::program()?;
        let package = Package::find(&manager.unit_dirs, &directory);
        let [socket, service] = units::units(&directory, &program)?;
        let states = [units::state(&socket)?, units::state(&service)?];
        Ok(Self {
            units: [(socket, states[0]), (service, states[1])],
            is_package_of_program: package
                .as_ref()
                .is_some_and(|package| package.runs(&program)),
            drop_in: DropIn::read(&directory, &manager)?,
            package,
        })
    }

    /// Returns the units that this program has written.
    pub(super) fn ours(&self) -> impl Iterator<Item = &Unit> {
        let ours = self.units.iter().filter(|(_, state)| state.is_ours());
        ours.map(|(unit, _)| unit)
    }
}
