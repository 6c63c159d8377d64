//! `bench plot`: SVG and Markdown from what the other commands wrote with `--json`.

use crate::report::{Report, grouped};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo run --release -p bench -- peers --json > docs/benchmarks/peers.json
  cargo run --release -p bench -- plot docs/benchmarks/*.json    writes peers.svg and peers.md beside it")]
pub(crate) struct Args {
    /// What `--json` wrote
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Which column of a table is drawn, and whether by powers of ten.
const DRAWN: [(&str, &str, bool); 5] = [
    ("peers", "rate", false),
    ("transmit", "rate", false),
    ("scaling", "ns", false),
    ("ladder", "p50", true),
    ("micro", "ns", false),
];

const WIDTH: f64 = 900.0;
const LABELS: f64 = 330.0;
const BARS: f64 = 460.0;
const STEP: f64 = 24.0;
const HEAD: f64 = 64.0;

pub(crate) fn run(args: &Args) -> Result<ExitCode, String> {
    for file in &args.files {
        let report = Report::read(file)?;
        let write = |extension: &str, text: &str| {
            let path: &Path = &file.with_extension(extension);
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
            println!("{}", path.display());
            Ok::<(), String>(())
        };
        write("md", &report.to_markdown())?;
        if let Some((_, key, powers)) = DRAWN.iter().find(|(bench, ..)| *bench == report.bench) {
            write("svg", &bars(&report, key, *powers))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A bar a row. By powers of ten, a bar begins at 1.
fn bars(report: &Report, key: &str, powers: bool) -> String {
    let heading = report.columns.iter().find(|column| column.key == key).map_or(key, |column| &column.heading);
    let rows: Vec<_> =
        report.rows.iter().filter_map(|row| Some((row.name.as_str(), report.figure(row, key)?))).collect();
    let scale = |value: f64| if powers { value.max(1.0).log10() } else { value };
    let most = rows.iter().map(|(_, value)| scale(*value)).fold(f64::MIN_POSITIVE, f64::max);
    #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
    let height = HEAD + STEP * rows.len() as f64 + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"16\" font-weight=\"bold\">{}: {}{}</text>\n\
         <text x=\"12\" y=\"46\" font-size=\"11\" fill=\"#666\">{}; medians of {} rounds</text>\n",
        escaped(&report.bench),
        escaped(heading),
        if powers { ", by powers of ten" } else { "" },
        escaped(&report.machine),
        report.rounds
    );
    let mut top = HEAD;
    for (name, value) in rows {
        let length = (BARS * scale(value) / most).max(1.0);
        let fill = if name.contains("echolot") { "#1f77b4" } else { "#9aa5b1" };
        let decimals = usize::from(value < 100.0) * 2;
        // Writing to a string can't fail.
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABELS}\" y=\"{top}\" width=\"{length:.1}\" height=\"{thick}\" fill=\"{fill}\"/>\
             <text x=\"{after:.1}\" y=\"{y}\">{}</text>",
            escaped(name),
            grouped(value, decimals),
            x = LABELS - 8.0,
            y = top + 14.0,
            thick = STEP - 6.0,
            after = LABELS + length + 6.0,
        );
        top += STEP;
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
