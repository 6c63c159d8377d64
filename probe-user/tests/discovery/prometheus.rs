//! A real Prometheus, of Debian's package `prometheus`, with the same files and the same server finds the same targets.

use super::{
    server::{Manner, Server},
    support::{AtWork, Folder, bounds, file, group, http, until},
};
use echolot::discovery::{GroupSources, HttpSource};
use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

/// At work, on loopback. Ends with this.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Prometheus {
    fn start(folder: &Folder, server: &Server) -> Self {
        // Nothing is listening where the targets are, and nobody is to ask there often.
        let config = format!(
            "global: {{scrape_interval: 1h, scrape_timeout: 1s}}\n\
             scrape_configs:\n\
             - job_name: all\n  file_sd_configs: [{{files: ['{files}/*.json', '{files}/*.yml']}}]\n  \
             http_sd_configs: [{{url: '{url}', refresh_interval: 1s}}]\n",
            files = folder.display(),
            url = server.url("/targets")
        );
        folder.write("prometheus.conf", config);
        // Free a moment ago; Prometheus can't be asked to choose one and tell.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", folder.join("prometheus.conf").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(log);
        let child = command.spawn().unwrap_or_else(|error| {
            let missing = error.kind() == ErrorKind::NotFound;
            assert!(!missing, "prometheus is not installed, and this test needs it: apt-get install prometheus");
            panic!("prometheus: {error}")
        });
        Self { child, port }
    }

    /// Its targets by their address without the port, with the label `site`; None while it doesn't answer.
    fn targets(&self) -> Option<BTreeSet<String>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.write_all(b"GET /api/v1/targets?state=active HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let answer: serde_json::Value = serde_json::from_str(body).ok()?;
        let target = |target: &serde_json::Value| {
            let instance = target["discoveredLabels"]["__address__"].as_str().unwrap();
            let site = target["labels"]["site"].as_str().map(|site| format!(" site={site}")).unwrap_or_default();
            format!("{}{site}", instance.strip_suffix(":9").unwrap())
        };
        Some(answer["data"]["activeTargets"].as_array()?.iter().map(target).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn a_real_prometheus_finds_the_same_targets_in_the_same_files_and_the_same_list() {
    let folder = Folder::new();
    let entry = |targets: &[&str], site: &str| {
        format!("[{{\"targets\": {targets:?}, \"labels\": {{\"site\": \"{site}\", \"__meta_x\": \"1\"}}}}]")
    };
    folder.write("a.json", entry(&["127.0.1.1:9", "127.0.1.2:9", "127.0.1.1:9"], "fra"));
    folder.write("b.yml", "- targets: ['127.0.2.1:9']\n  labels: {site: muc}\n- targets: ['127.0.2.2:9']\n");
    let server = Server::start(Manner::Json(entry(&["127.0.3.1:9"], "ber")));
    let prometheus = Prometheus::start(&folder, &server);
    let files = ["*.json", "*.yml"].map(|pattern| file(&folder.join(pattern), bounds(true, 0)));
    let url = HttpSource { bounds: bounds(true, 0), ..http(&server.url("/targets")) };
    let at_work = AtWork::of(GroupSources { files: files.into(), http: vec![url], ..group() });
    let agree = |what: &str, expected: &[&str]| {
        at_work.until_targets(expected);
        until(&format!("{what}: {:?} and {:?}", prometheus.targets(), expected), || {
            prometheus.targets().is_some_and(|targets| targets == at_work.targets())
        });
    };
    let of_files = ["127.0.1.1 site=fra", "127.0.1.2 site=fra", "127.0.2.1 site=muc", "127.0.2.2"];
    agree("the start", &[&of_files[..], &["127.0.3.1 site=ber"]].concat());
    // Each bad one changes nothing, here and there; the good one that follows it shows that it was looked at.
    for (round, (content, manner)) in [
        ("[{\"targets\": [\"127.0.1.9:9\"", Manner::Raw(Manner::answer("500 Internal Server Error", "", "[]"))),
        ("[{\"targets\": [\"127.0.1.9:9\"], \"label\": {}}]", Manner::Json("[{\"targets\": [\"127.0.3.9:9\"".into())),
        ("{\"targets\": []}", Manner::Raw(Manner::answer("200 OK", "Content-Type: text/plain\r\n", "[]"))),
        (
            "[{\"targets\": [\"127.0.1.9:9\"], \"labels\": {\"site\": 7}}]",
            Manner::Json("[{\"targets\": [\"127.0.3.9:9\"], \"x\": 1}]".into()),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        folder.replace("a.json", content);
        server.behave(manner);
        until("both fail here", || {
            at_work.discovery.states().iter().filter(|state| state.up == Some(false)).count() == 2
        });
        let asked = server.heads().len();
        until("and are asked there", || server.heads().len() > asked + 4);
        agree(
            "a bad one",
            &[&of_files[..], &[if round == 0 { "127.0.3.1 site=ber" } else { "127.0.3.2 site=ber" }]].concat(),
        );
        folder.replace("a.json", entry(&["127.0.1.1:9", "127.0.1.2:9"], "fra"));
        server.behave(Manner::Json(entry(&["127.0.3.2:9"], "ber")));
        agree("a good one again", &[&of_files[..], &["127.0.3.2 site=ber"]].concat());
    }
    fs::remove_file(folder.join("b.yml")).unwrap();
    server.behave(Manner::Json("[]".into()));
    agree("those that went", &["127.0.1.1 site=fra", "127.0.1.2 site=fra"]);
    folder.replace("a.json", "[]");
    agree("none", &[]);
}
