//! The tools that people will read the metrics with: promtool and Prometheus, from Debian's package `prometheus`.

use echolot::metrics::Format;
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Starts a tool of the package; a missing one is a failure that says what to install.
fn start(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| {
        let tool = command.get_program().display();
        assert!(
            error.kind() != ErrorKind::NotFound,
            "{tool} is not installed, and this test needs it: apt-get install prometheus python3-prometheus-client"
        );
        panic!("{tool}: {error}")
    })
}

/// `promtool check metrics` has nothing to say about a scrape.
pub(crate) fn promtool_is_content(name: &str, scrape: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = start(&mut command);
    promtool.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{name}: {}\n{said}", output.status);
}

/// Name, labels and value.
pub(crate) type Sample<V> = (String, BTreeMap<String, String>, V);

/// What the parsers of Python's prometheus_client make of expositions: of each the samples, with name, labels and value. They refuse
/// what the formats forbid.
pub(crate) fn python_reads(expositions: &[(Format, String)]) -> Vec<Vec<Sample<f64>>> {
    const READ: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text
all = []
for is_open, exposition in json.load(sys.stdin):
    families = (openmetrics if is_open else text)(exposition)
    all.append([(s.name, s.labels, str(float(s.value))) for family in families for s in family.samples])
json.dump(all, sys.stdout)
";
    // Debian's Python, which has Debian's package.
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut python = start(&mut command);
    let all: Vec<(bool, &str)> = expositions.iter().map(|(f, text)| (*f == Format::OpenMetrics, &**text)).collect();
    let (mut input, json) = (python.stdin.take().unwrap(), serde_json::to_string(&all).unwrap());
    let writing = std::thread::spawn(move || input.write_all(json.as_bytes()));
    let output = python.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "python3-prometheus-client, where it is installed, says:\n{said}");
    writing.join().unwrap().unwrap();
    let samples: Vec<Vec<Sample<String>>> = serde_json::from_slice(&output.stdout).unwrap();
    let number = |value: &str| value.replace("inf", "Inf").parse().unwrap();
    samples
        .into_iter()
        .map(|s| s.into_iter().map(|(name, labels, value)| (name, labels, number(&value))).collect())
        .collect()
}

/// A Prometheus at work, in the network namespace of the thread that starts it. Ends what it started and removes its folder, whatever happens.
pub(crate) struct Prometheus {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Prometheus {
    pub(crate) fn scraping(target: std::net::SocketAddr) -> Self {
        Self::scraping_every(target, 1)
    }

    /// Each scrape may take as long as it is to the next.
    pub(crate) fn scraping_every(target: std::net::SocketAddr, seconds: u32) -> Self {
        let config = format!(
            "global: {{scrape_interval: {seconds}s, scrape_timeout: {seconds}s}}\n\
             scrape_configs:\n- job_name: echolot\n  static_configs:\n  - targets: ['{target}']\n"
        );
        Self::configured(&target.to_string(), &[("prometheus.yml", &config)])
    }

    /// With these files beside each other, the first of which is its configuration.
    pub(crate) fn configured(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("echolot-prometheus-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|(file, text)| fs::write(folder.join(file), text).unwrap());
        // Free a moment ago; Prometheus can't be asked to choose one and tell.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", folder.join(files[0].0).display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log);
        Self { child: start(&mut command), folder, port }
    }

    /// Waits until its first scrape has been a success.
    pub(crate) fn wait(&mut self) {
        let end = Instant::now() + Duration::from_secs(120);
        while self.query("up{job=\"echolot\"}").as_deref() != Some("1") {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "Prometheus has not scraped in 120 s:\n{}", log());
            assert!(self.child.try_wait().unwrap().is_none(), "Prometheus ended:\n{}", log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The value of a query that finds one series; None while it finds none or nobody answers.
    pub(crate) fn query(&self, query: &str) -> Option<String> {
        Some(self.found(query).ok()?.first()?["value"][1].as_str()?.to_owned())
    }

    /// All series that a query finds: `metric` has the labels, `value` a time and the value.
    pub(crate) fn found(&self, query: &str) -> Result<Vec<serde_json::Value>, String> {
        let query: String = query.bytes().map(|b| format!("%{b:02x}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={query}")).ok_or("nobody answers")?;
        answer["data"]["result"].as_array().cloned().ok_or_else(|| answer.to_string())
    }

    fn get(&self, path: &str) -> Option<serde_json::Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
