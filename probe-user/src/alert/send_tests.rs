#![expect(clippy::unwrap_used, reason = "a test may panic")]
use super::*;
use crate::{
    alert::{Annotations, CAPACITY, Labels, Name},
    client::{Authorization, TlsSettings},
};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
};

const LONG: Duration = Duration::from_secs(60);

/// What was posted: the request's head and how many alerts its body has.
type Posted = (String, usize);

/// Answers one request after the other as it is told to; None: never.
struct Server {
    url: String,
    posted: mpsc::Receiver<Posted>,
}

impl Server {
    fn start(answers: Vec<Option<&'static str>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/am?token=geheim", listener.local_addr().unwrap());
        let (tell, posted) = mpsc::channel();
        std::thread::spawn(move || {
            let kept = Mutex::new(Vec::new());
            for (stream, answer) in listener.incoming().flatten().zip(answers) {
                let _gone = tell.send(read(&stream).unwrap());
                match answer {
                    Some(answer) => _ = write!(&stream, "HTTP/1.1 {answer}\r\nContent-Length: 5\r\n\r\nwhy.\n"),
                    // Held open.
                    None => kept.lock().unwrap().push(stream),
                }
            }
        });
        Self { url, posted }
    }

    fn next(&self) -> Posted {
        self.posted.recv_timeout(LONG).unwrap()
    }
}

fn read(stream: &TcpStream) -> Option<Posted> {
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let begin = head.len();
        if reader.read_line(&mut head).ok()? <= 2 {
            break;
        }
        if let Some(value) = head[begin..].to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let alerts: serde_json::Value = serde_json::from_slice(&body).ok()?;
    Some((head, alerts.as_array()?.len()))
}

fn alerts(many: usize) -> Vec<Alert> {
    let alert = |n: usize| Alert {
        labels: Labels::new(Name::TargetDown, &BTreeMap::new(), [("target", &*n.to_string())]),
        annotations: Annotations::default(),
        starts_unix_ns: 1,
        ends_unix_ns: None,
    };
    (0..many).map(alert).collect()
}

/// Has its task run on a thread of its own, until the test ends.
fn at_work(url: &str, authorization: Option<Authorization>) -> Arc<Outbox> {
    let one = Alertmanager { url: url.parse().unwrap(), authorization, tls: TlsSettings::default() };
    let outbox = Arc::new(Outbox::new(one.name(), CAPACITY));
    let of_thread = Arc::clone(&outbox);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work(one, of_thread, Settings::default(), || Nanos::ZERO));
    });
    outbox
}

fn until(outbox: &Outbox, is_so: impl Fn(&crate::alert::Status) -> bool) {
    let end = Instant::now() + LONG;
    while !is_so(&outbox.status()) {
        assert!(Instant::now() < end, "{:?}", outbox.status());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn all_that_waits_is_posted_in_batches_and_says_who_posts() {
    let server = Server::start(vec![Some("200 OK"); 3]);
    let folder = std::env::temp_dir().join(format!("echolot-send-{}", std::process::id()));
    std::fs::write(&folder, "word\n").unwrap();
    let who = Authorization::Basic { username: "me".into(), password_file: Some(folder.clone()) };
    let outbox = at_work(&server.url, Some(who));
    outbox.put(&alerts(150));
    let posted: Vec<Posted> = (0..3).map(|_| server.next()).collect();
    assert_eq!(posted.iter().map(|(_, many)| *many).collect::<Vec<_>>(), [64, 64, 22]);
    let head = &posted[0].0;
    assert!(head.starts_with("POST /am/api/v2/alerts?token=geheim HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("authorization: Basic bWU6d29yZA==\r\n") && head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    until(&outbox, |status| status.sent == 150);
    let status = outbox.status();
    assert_eq!((status.errors, status.dropped, status.waiting, status.latency.count()), (0, 0, 0, 3));
    assert!(status.alertmanager.ends_with("/am") && !status.alertmanager.contains("geheim"));
    std::fs::remove_file(&folder).unwrap();
}

#[test]
fn what_is_refused_for_good_is_not_posted_again_and_what_failed_is() {
    let answers = vec![Some("400 Bad Request"), Some("503 Busy"), Some("307 Temporary Redirect"), Some("202 Accepted")];
    let server = Server::start(answers);
    let outbox = at_work(&server.url, None);
    outbox.put(&alerts(70));
    let posted: Vec<usize> = (0..4).map(|_| server.next().1).collect();
    assert_eq!(posted, [64, 6, 6, 6]);
    until(&outbox, |status| status.sent == 6);
    assert_eq!((outbox.status().errors, outbox.status().dropped), (64 + 6 + 6, 64));
}

#[test]
fn nobody_is_waited_for_longer_than_a_request_may_take() {
    let server = Server::start(vec![None, Some("200 OK")]);
    let outbox = at_work(&server.url, None);
    outbox.put(&alerts(1));
    let begun = Instant::now();
    server.next();
    // What is put meanwhile waits, and goes with it.
    outbox.put(&alerts(2));
    assert_eq!(server.next().1, 2);
    assert!(begun.elapsed() >= REQUEST_TIMEOUT, "{:?}", begun.elapsed());
    until(&outbox, |status| status.sent == 2);
    assert_eq!((outbox.status().errors, outbox.status().dropped), (1, 0));
}

#[test]
fn a_secret_that_can_not_be_read_is_a_failure_like_another() {
    let server = Server::start(vec![Some("200 OK")]);
    let file = std::env::temp_dir().join(format!("echolot-token-{}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let who = Authorization::Token { kind: "Bearer".into(), credentials_file: file.clone() };
    let outbox = at_work(&server.url, Some(who));
    outbox.put(&alerts(1));
    until(&outbox, |status| status.errors >= 1);
    std::fs::write(&file, "t\n").unwrap();
    assert!(server.next().0.contains("authorization: Bearer t\r\n"));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_wrong_path_is_told_with_what_is_right() {
    assert!(hint(StatusCode::NOT_FOUND, "it answered 404".into()).contains("http://alertmanager.example:9093"));
    assert_eq!(hint(StatusCode::BAD_REQUEST, "it answered 400".into()), "it answered 400");
}
