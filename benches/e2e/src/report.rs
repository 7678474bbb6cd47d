//! Tables of the figures.

use crate::rounds::{Figures, QUIET_SHARE, Rounds, Sample};
use crate::statistics::{AGREEMENT, Change, RELEVANT_CHANGE, median};
use crate::system::Variant;

/// A table of one number of callers, with its goals.
struct Table {
    title: &'static str,
    figures: fn(&Sample) -> &Figures,
    /// The figure that is compared with Go. Larger is better.
    speed: fn(&Figures) -> f64,
    /// Goal for the speed of a variant, as a multiple of Go's.
    speed_goal: fn(Variant) -> Option<f64>,
    /// The most CPU time of all processes for a request of the plain variant, in microseconds.
    cpu_goal: Option<f64>,
}

const TABLES: [Table; 2] = [
    Table {
        title: "64 callers, all cores",
        figures: |sample| &sample.many,
        speed: |figures| figures.per_second,
        speed_goal: |variant| match variant {
            Variant::Plain => Some(8.0),
            Variant::AuditLog => Some(5.5),
            Variant::AuditLogAndModule => Some(4.0),
            Variant::Shared | Variant::Module => None,
        },
        cpu_goal: Some(25.0),
    },
    Table {
        title: "1 caller, one core",
        figures: |sample| &sample.one,
        speed: |figures| 1.0 / figures.p50,
        speed_goal: |variant| (variant == Variant::Plain).then_some(5.0),
        cpu_goal: None,
    },
];

const COLUMNS: [&str; 9] = [
    "requests/s",
    "x Go",
    "goal",
    "p50 us",
    "daemon",
    "provider",
    "module",
    "CPU us",
    "goal",
];

/// One measured system.
struct Row<'a> {
    /// `None` for Go.
    variant: Option<Variant>,
    samples: &'a [Sample],
}

impl Row<'_> {
    fn name(&self) -> &'static str {
        self.variant.map_or("Go", Variant::name)
    }

    /// Returns the cells of a table; `go` is the row that this one is compared with.
    fn cells(&self, table: &Table, go: Option<&Self>) -> [String; COLUMNS.len()] {
        let figure = |value: fn(&Figures) -> f64| {
            median(
                self.samples
                    .iter()
                    .map(|sample| value((table.figures)(sample))),
            )
        };
        let ratio = go.filter(|_| self.variant.is_some()).map(|go| {
            let speed = |sample: &Sample| (table.speed)((table.figures)(sample));
            let pairs = self.samples.iter().zip(go.samples);
            median(pairs.map(|(own, go)| speed(own) / speed(go)))
        });
        let speed_goal = self.variant.and_then(table.speed_goal);
        let cpu_goal = table
            .cpu_goal
            .filter(|_| self.variant == Some(Variant::Plain));
        let time = |value: f64| {
            or_dash((value > 0.0).then_some(value), |value| {
                format!("{value:.1}")
            })
        };
        [
            format!("{:.0}", figure(|figures| figures.per_second)),
            or_dash(ratio, |ratio| format!("{ratio:.1}")),
            or_dash(speed_goal, |goal| format!(">= {goal}")),
            time(figure(|figures| figures.p50)),
            time(figure(|figures| figures.daemon_cpu)),
            time(figure(|figures| figures.provider_cpu)),
            time(figure(|figures| figures.module_cpu)),
            time(figure(Figures::cpu)),
            or_dash(cpu_goal, |goal| format!("<= {goal}")),
        ]
    }
}

fn or_dash(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), format)
}

/// Returns the tables of a run of `variants`, followed by Go if there is one row more.
pub(crate) fn ratios(variants: &[Variant], rounds: &Rounds) -> String {
    let variants = variants.iter().copied().map(Some).chain([None]);
    let rows: Vec<Row<'_>> = variants
        .zip(&rounds.samples)
        .map(|(variant, samples)| Row { variant, samples })
        .collect();
    let go = rows.iter().find(|row| row.variant.is_none());
    let mut text = quietness(rounds);
    for table in &TABLES {
        text += "\n";
        text += &line(table.title, &COLUMNS);
        for row in &rows {
            text += &line(row.name(), &row.cells(table, go));
        }
    }
    if go.is_none() {
        text += "\nThe daemon and the plugin in Go: skipped: needs Go\n";
    }
    text
}

fn line(name: &str, cells: &[impl AsRef<str>]) -> String {
    let cells = cells.iter().map(|cell| format!(" {:>10}", cell.as_ref()));
    format!("{name:<22}{}\n", cells.collect::<String>())
}

/// Returns the table of a paired comparison, whose systems are for each variant the build `before`, then the build `after`.
///
/// # Panics
///
/// Panics if the number of systems is not twice that of the variants.
pub(crate) fn comparison(variants: &[Variant], rounds: &Rounds) -> String {
    assert_eq!(
        rounds.samples.len(),
        2 * variants.len(),
        "each variant has a pair"
    );
    let mut text = quietness(rounds);
    let titles = ["before", "after", "change", "same sign"];
    for (variant, pair) in variants.iter().zip(rounds.samples.chunks(2)) {
        text += "\n";
        text += &compared(variant.name(), &titles, "");
        for figure in &FIGURES {
            let values =
                |samples: &[Sample]| samples.iter().map(figure.value).collect::<Vec<f64>>();
            let (before, after) = (values(&pair[0]), values(&pair[1]));
            // Only some variants have a module.
            if before.iter().all(|value| *value == 0.0) {
                continue;
            }
            let change = Change::between(&before, &after);
            let cells = [
                format!("{:.1}", median(before)),
                format!("{:.1}", median(after)),
                format!("{:+.1} %", 100.0 * change.median),
                format!("{} of {}", change.n_agreeing, change.n_rounds),
            ];
            text += &compared(
                figure.name,
                &cells,
                verdict(change, figure.is_better_if_larger),
            );
        }
    }
    text += &format!(
        "\nA difference counts if its median is above {:.0} % and {:.0} % of the rounds have its sign.\n",
        100.0 * RELEVANT_CHANGE,
        100.0 * AGREEMENT
    );
    text
}

fn compared(name: &str, cells: &[impl AsRef<str>], verdict: &str) -> String {
    let cells = cells.iter().map(|cell| format!(" {:>10}", cell.as_ref()));
    let line = format!("{name:<28}{} {verdict}", cells.collect::<String>());
    format!("{}\n", line.trim_end())
}

/// A column of a comparison.
struct Figure {
    name: &'static str,
    value: fn(&Sample) -> f64,
    is_better_if_larger: bool,
}

const FIGURES: [Figure; 9] = [
    Figure {
        name: "requests/s, 64 callers",
        value: |sample| sample.many.per_second,
        is_better_if_larger: true,
    },
    smaller("p50 us, 64 callers", |sample| sample.many.p50),
    smaller("daemon CPU us, 64 callers", |sample| sample.many.daemon_cpu),
    smaller("provider CPU us, 64 callers", |sample| {
        sample.many.provider_cpu
    }),
    smaller("module CPU us, 64 callers", |sample| sample.many.module_cpu),
    smaller("p50 us, 1 caller", |sample| sample.one.p50),
    smaller("daemon CPU us, 1 caller", |sample| sample.one.daemon_cpu),
    smaller("provider CPU us, 1 caller", |sample| {
        sample.one.provider_cpu
    }),
    smaller("module CPU us, 1 caller", |sample| sample.one.module_cpu),
];

const fn smaller(name: &'static str, value: fn(&Sample) -> f64) -> Figure {
    Figure {
        name,
        value,
        is_better_if_larger: false,
    }
}

fn verdict(change: Change, is_better_if_larger: bool) -> &'static str {
    if !change.is_relevant() {
        ""
    } else if (change.median > 0.0) == is_better_if_larger {
        "BETTER"
    } else {
        "WORSE"
    }
}

fn quietness(rounds: &Rounds) -> String {
    let others = rounds.others.iter().copied();
    format!(
        "{} rounds; in {} of them other processes took less than {:.0} % of a core (median {:.0} %).\n",
        rounds.others.len(),
        rounds.n_quiet(),
        100.0 * QUIET_SHARE,
        100.0 * median(others)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(per_second: f64, p50: f64, cpu: f64) -> Figures {
        Figures {
            per_second,
            p50,
            daemon_cpu: cpu,
            provider_cpu: cpu / 2.0,
            module_cpu: 0.0,
        }
    }

    /// Rounds of a system that takes `cost` times as long as a unit.
    fn samples(costs: &[f64]) -> Vec<Sample> {
        let sample = |cost| Sample {
            many: figures(10_000.0 / cost, 100.0 * cost, 10.0 * cost),
            one: figures(5_000.0 / cost, 200.0 * cost, 20.0 * cost),
        };
        costs.iter().copied().map(sample).collect()
    }

    fn words<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
        let line = text.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("no line starts with {start:?} in\n{text}"));
        line[start.len()..].split_whitespace().collect()
    }

    #[test]
    fn ratios_to_go_are_medians_of_rounds() {
        let rounds = Rounds {
            samples: vec![samples(&[1.0, 1.0, 2.0]), samples(&[4.0, 5.0, 12.0])],
            others: vec![0.01, 0.5, 0.02],
        };
        let text = ratios(&[Variant::Plain], &rounds);
        assert!(
            text.starts_with("3 rounds; in 2 of them other processes"),
            "{text}"
        );
        let plain = words(&text, "plain");
        assert_eq!(
            plain,
            [
                "10000", "5.0", ">=", "8", "100.0", "10.0", "5.0", "-", "15.0", "<=", "25"
            ]
        );
        assert_eq!(words(&text, "Go")[..3], ["2000", "-", "-"]);
    }

    #[test]
    fn missing_go_is_reported() {
        let rounds = Rounds {
            samples: vec![samples(&[1.0])],
            others: vec![0.01],
        };
        let text = ratios(&[Variant::Plain], &rounds);
        assert!(text.ends_with("skipped: needs Go\n"), "{text}");
        assert_eq!(words(&text, "plain")[..2], ["10000", "-"]);
    }

    #[test]
    fn a_comparison_gives_a_verdict() {
        let rounds = Rounds {
            samples: vec![samples(&[1.0; 10]), samples(&[0.8; 10])],
            others: vec![0.01; 10],
        };
        let text = comparison(&[Variant::Plain], &rounds);
        let faster = words(&text, "requests/s, 64 callers");
        assert_eq!(
            faster,
            [
                "10000.0", "12500.0", "+25.0", "%", "10", "of", "10", "BETTER"
            ]
        );
        let shorter = words(&text, "p50 us, 1 caller");
        assert_eq!(
            shorter,
            ["200.0", "160.0", "-20.0", "%", "10", "of", "10", "BETTER"]
        );
        assert!(!text.contains("module CPU"), "{text}");
    }
}
