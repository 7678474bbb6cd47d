//! The script that belongs to a seed.

use crate::{
    class::Class,
    draft::Draft,
    random::Random,
    script::{End, Script},
};

impl Script {
    /// The script of a seed. `drains` are the ends whose implementation, when it closes a session, waits for
    /// its streams; the class [`Class::CloseDrains`] lets only them close. In
    /// [`Class::CloseUnaccepted`] another end hangs up. The others are HashiCorp's, which have nothing
    /// to send after the close of the connection.
    ///
    /// # Panics
    ///
    /// Panics if no end drains and the [class needs one](Class::needs_drain).
    pub fn from_seed(seed: u64, drains: &[End]) -> Self {
        let class = Class::of_seed(seed);
        let mut draft = Draft::new(Random::new(seed));
        match class {
            Class::Exchange => draft.only(|strand| strand.exchange()),
            Class::AcceptorFirst => draft.only(|strand| strand.acceptor_first()),
            Class::WriteThenDrop => draft.only(|strand| strand.write_then_drop()),
            Class::HalfClose => draft.only(|strand| strand.half_close()),
            Class::Reset => draft.with_others(60, |strand| strand.reset()),
            Class::Bulk => draft.with_others(30, |strand| strand.bulk()),
            Class::BulkBothWays => draft.with_others(30, |strand| strand.bulk_both_ways()),
            Class::ManyStreams => draft.many_streams(),
            Class::SlowReader => draft.slow_reader(),
            Class::FullWindow => draft.full_window(),
            Class::LateAccept => draft.late_accept(),
            Class::AcceptQueue => draft.accept_queue(),
            Class::GoAway => draft.go_away(),
            Class::CloseInFlight => draft.close_in_flight(drains),
            Class::CloseDrains => draft.close_drains(drains),
            Class::CloseWakes => draft.close_wakes(),
            Class::CloseUnaccepted => draft.close_unaccepted(drains),
            Class::CloseBoth => draft.close_both(),
            Class::LateFrames => draft.with_others(70, |strand| strand.late_frames()),
            Class::KeepAlive => draft.keep_alive(),
            Class::LargeWindows => draft.large_windows(),
            Class::Mixed => draft.mixed(),
        }
        draft.script(class, seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::expect;

    #[test]
    fn every_script_has_one_outcome_and_about_50_operations() {
        for number in 0..4000 {
            let seed = Random::new(number).bits() >> 24;
            let drains: &[End] = match number % 3 {
                0 => &End::BOTH,
                1 => &[End::Client],
                _ => &[End::Server],
            };
            let script = Script::from_seed(seed, drains);
            if let Err(why) = expect(&script) {
                let ops: Vec<_> = script.ops.iter().map(ToString::to_string).collect();
                panic!("{} {seed}: {why}\n{}", script.class, ops.join("\n"));
            }
            let count = script.ops.len();
            assert!(
                (40..=70).contains(&count),
                "{} {seed}: {count} operations",
                script.class
            );
        }
    }
}
