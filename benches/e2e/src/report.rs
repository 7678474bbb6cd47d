//! Figures as tables.

use std::fmt::{Display, Write as _};

use crate::rounds::{Figures, MANY_CALLERS, QUIET_SHARE, Rounds, Sample};
use crate::statistics::{AGREEMENT, Change, RELEVANT_CHANGE, median};
use crate::system::Variant;

/// The most CPU time of daemon and provider for each request of the plain variant, in microseconds.
const CPU_GOAL: f64 = 25.0;

/// How many times as fast as Go one caller must be served by the plain variant.
const ONE_CALLER_GOAL: f64 = 5.0;

/// How many times the requests of Go [`MANY_CALLERS`] callers must get. The module alone has no goal.
const fn many_callers_goal(variant: Variant) -> Option<f64> {
    match (variant.has_audit_log, variant.has_module) {
        (false, false) => Some(8.0),
        (true, false) => Some(5.5),
        (false, true) => None,
        (true, true) => Some(4.0),
    }
}

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

    fn is_plain(&self) -> bool {
        self.variant == Some(Variant::default())
    }

    fn median(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(figure))
    }

    /// Returns the median of the rounds' ratios of a figure to that of `other`.
    fn ratio(&self, other: &Row<'_>, figure: impl Fn(&Sample) -> f64) -> f64 {
        let pairs = self.samples.iter().zip(other.samples);
        median(pairs.map(|(one, other)| figure(one) / figure(other)))
    }
}

/// Returns the tables of a run of `variants`, followed by Go if there is one row more.
#[must_use]
pub(crate) fn ratios(variants: &[Variant], rounds: &Rounds) -> String {
    let variants = variants.iter().copied().map(Some).chain([None]);
    let rows: Vec<Row<'_>> = variants
        .zip(&rounds.samples)
        .map(|(variant, samples)| Row { variant, samples })
        .collect();
    let go = rows.iter().find(|row| row.variant.is_none());
    let mut text = quietness(rounds);
    many_callers(&mut text, &rows, go);
    one_caller(&mut text, &rows, go);
    if go.is_none() {
        text += "\nThe daemon and the plugin in Go: skipped: needs Go\n";
    }
    text
}

fn many_callers(text: &mut String, rows: &[Row<'_>], go: Option<&Row<'_>>) {
    let title = format!("{MANY_CALLERS} callers, all cores");
    push_line(
        text,
        &title,
        &["requests/s", "x Go", "goal", "p50 us"],
        true,
    );
    for row in rows {
        let per_second = |sample: &Sample| sample.many.per_second;
        let ratio = versus(row, go).map(|go| row.ratio(go, per_second));
        let goal = row.variant.and_then(many_callers_goal);
        let cells = [
            format!("{:.0}", row.median(per_second)),
            or_dash(ratio, |ratio| format!("{ratio:.1}")),
            or_dash(goal, |goal| format!(">= {goal}")),
            format!("{:.0}", row.median(|sample| sample.many.p50)),
        ];
        push_line(text, row.name(), &cells, false);
        push_cpu(text, row, |sample| &sample.many);
    }
}

fn one_caller(text: &mut String, rows: &[Row<'_>], go: Option<&Row<'_>>) {
    push_line(
        text,
        "1 caller, one core",
        &["requests/s", "x Go", "goal", "p50 us"],
        true,
    );
    for row in rows {
        // A latency is better if it is shorter, so the ratio is turned over.
        let speed = |sample: &Sample| 1.0 / sample.one.p50;
        let ratio = versus(row, go).map(|go| row.ratio(go, speed));
        let goal = row.is_plain().then_some(ONE_CALLER_GOAL);
        let cells = [
            format!("{:.0}", row.median(|sample| sample.one.per_second)),
            or_dash(ratio, |ratio| format!("{ratio:.1}")),
            or_dash(goal, |goal| format!(">= {goal}")),
            format!("{:.1}", row.median(|sample| sample.one.p50)),
        ];
        push_line(text, row.name(), &cells, false);
        push_cpu(text, row, |sample| &sample.one);
    }
}

/// Returns what `row` is compared with: Go, unless it is Go itself.
fn versus<'a>(row: &Row<'_>, go: Option<&'a Row<'a>>) -> Option<&'a Row<'a>> {
    go.filter(|_| row.variant.is_some())
}

/// Appends the columns before those of CPU time, which end the line.
fn push_line(text: &mut String, title: &str, cells: &[impl Display], is_head: bool) {
    if is_head {
        text.push('\n');
    }
    *text += &format!("{title:<22}");
    for cell in cells {
        *text += &format!(" {:>10}", cell.to_string());
    }
    if is_head {
        for cell in ["daemon", "provider", "module", "CPU us", "goal"] {
            *text += &format!(" {cell:>8}");
        }
        text.push('\n');
    }
}

fn push_cpu(text: &mut String, row: &Row<'_>, figures: impl Fn(&Sample) -> &Figures) {
    let times = [
        row.median(|sample| figures(sample).daemon_cpu),
        row.median(|sample| figures(sample).provider_cpu),
        row.median(|sample| figures(sample).module_cpu),
        row.median(|sample| figures(sample).cpu()),
    ];
    for time in times {
        *text += &format!(
            " {:>8}",
            or_dash((time > 0.0).then_some(time), |time| format!("{time:.1}"))
        );
    }
    let goal = row.is_plain().then_some(CPU_GOAL);
    *text += &format!(" {:>8}\n", or_dash(goal, |goal| format!("<= {goal}")));
}

fn or_dash(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), format)
}

/// Returns the table of a paired comparison, whose systems are for each variant the build `before`, then the build `after`.
///
/// # Panics
///
/// Panics if the number of systems is not twice that of the variants.
#[must_use]
pub(crate) fn comparison(variants: &[Variant], rounds: &Rounds) -> String {
    assert_eq!(
        rounds.samples.len(),
        2 * variants.len(),
        "each variant has a pair"
    );
    let mut text = quietness(rounds);
    text += "\n";
    text +=
        "variant, figure                               before      after    change   same sign\n";
    for (variant, pair) in variants.iter().zip(rounds.samples.chunks(2)) {
        for figure in FIGURES {
            let [before, after] = [0, 1].map(|at: usize| {
                let values = pair[at].iter().map(figure.value);
                values.collect::<Vec<f64>>()
            });
            if before.iter().all(|value| *value == 0.0) {
                continue;
            }
            let change = Change::between(&before, &after);
            let name = format!("{}: {}", variant.name(), figure.name);
            let verdict = verdict(change, figure.is_better_if_larger);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{name:<42} {:>9.1}  {:>9.1}  {:>+6.1} %   {:>2} of {:<3} {verdict}",
                median(before),
                median(after),
                100.0 * change.median,
                change.n_agreeing,
                change.n_rounds,
            );
        }
    }
    let _ = writeln!(
        text,
        "\nA difference counts if its median is above {:.0} % and {:.0} % of the rounds have its sign.",
        100.0 * RELEVANT_CHANGE,
        100.0 * AGREEMENT
    );
    text
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

    fn line<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
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
        let text = ratios(&[Variant::default()], &rounds);
        assert!(
            text.starts_with("3 rounds; in 2 of them other processes"),
            "{text}"
        );
        let plain = line(&text, "plain");
        assert_eq!(
            plain,
            [
                "10000", "5.0", ">=", "8", "100", "10.0", "5.0", "-", "15.0", "<=", "25"
            ]
        );
        assert_eq!(line(&text, "Go")[..3], ["2000", "-", "-"]);
    }

    #[test]
    fn missing_go_is_said() {
        let rounds = Rounds {
            samples: vec![samples(&[1.0])],
            others: vec![0.01],
        };
        let text = ratios(&[Variant::default()], &rounds);
        assert!(text.ends_with("skipped: needs Go\n"), "{text}");
        assert_eq!(line(&text, "plain")[..2], ["10000", "-"]);
    }

    #[test]
    fn a_comparison_gives_a_verdict() {
        let rounds = Rounds {
            samples: vec![samples(&[1.0; 10]), samples(&[0.8; 10])],
            others: vec![0.01; 10],
        };
        let text = comparison(&[Variant::default()], &rounds);
        let faster = line(&text, "plain: requests/s, 64 callers");
        assert_eq!(
            faster,
            [
                "10000.0", "12500.0", "+25.0", "%", "10", "of", "10", "BETTER"
            ]
        );
        let shorter = line(&text, "plain: p50 us, 1 caller");
        assert_eq!(
            shorter,
            ["200.0", "160.0", "-20.0", "%", "10", "of", "10", "BETTER"]
        );
        assert!(!text.contains("module CPU"), "{text}");
    }
}
