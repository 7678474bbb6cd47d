//! Parses the output of libFuzzer.

use std::fmt;

/// The outcome of one run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    executions: Option<u64>,
    /// Number of edges of the code that were reached.
    coverage: Option<u64>,
    /// Number of inputs that the corpus has in the end.
    corpus: Option<u64>,
    /// The file with the input that failed.
    pub(crate) artifact: Option<String>,
}

impl Report {
    /// Parses the output of a run.
    pub(crate) fn read(output: &str) -> Self {
        let mut report = Self::default();
        for line in output.lines() {
            let mut words = line.split_whitespace();
            while let Some(word) = words.next() {
                match word {
                    "cov:" => report.coverage = number(words.next()).or(report.coverage),
                    "corp:" => report.corpus = number(words.next()).or(report.corpus),
                    "stat::number_of_executed_units:" => report.executions = number(words.next()),
                    "to" if line.contains("Test unit written to ") => {
                        report.artifact = words.next().map(str::to_owned);
                    }
                    _ => {}
                }
            }
        }
        report
    }
}

/// Parses the number at the front of `118` or `118/40Kb`.
fn number(word: Option<&str>) -> Option<u64> {
    word?.split('/').next()?.parse().ok()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
        write!(
            f,
            "{:>10} executions, coverage {:>5}, corpus {:>5} inputs",
            show(self.executions),
            show(self.coverage),
            show(self.corpus)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_fault_is_read() {
        let output = "#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 27Mb\n\
            #4194304\tpulse  cov: 118 ft: 467 corp: 92/40Kb lim: 4096 exec/s: 524288 rss: 400Mb\n\
            Done 4194999 runs in 11 second(s)\n\
            stat::number_of_executed_units: 4194999\n";
        let report = Report::read(output);
        assert_eq!(
            report.to_string(),
            "   4194999 executions, coverage   118, corpus    92 inputs"
        );
        assert_eq!(report.artifact, None);
    }

    #[test]
    fn the_input_that_failed_is_found() {
        let output = "==1== ERROR: libFuzzer: deadly signal\n\
            artifact_prefix='fuzz/artifacts/a/'; Test unit written to fuzz/artifacts/a/crash-0a1b\n\
            Base64: AA==\n";
        let artifact = Report::read(output).artifact;
        assert_eq!(artifact.as_deref(), Some("fuzz/artifacts/a/crash-0a1b"));
    }
}
