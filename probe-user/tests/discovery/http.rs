//! Lists over HTTP.

use super::{
    server::{Manner, Server},
    support::{AtWork, bounds, group, http, lines, until},
};
use echolot::discovery::{GroupSources, HttpSource, Settings};
use std::{net::TcpListener, sync::Arc, time::Duration};

const GOOD: &str = r#"[{"targets": ["10.0.0.1"], "labels": {"site": "fra", "__meta_x": "y"}}]"#;

fn of(source: HttpSource) -> GroupSources {
    GroupSources { http: vec![source], ..group() }
}

fn at_work(server: &Server) -> AtWork {
    AtWork::of(of(http(&server.url("/targets"))))
}

#[test]
fn a_list_is_asked_for_again_and_again() {
    let server = Server::start(Manner::Json(GOOD.into()));
    let at_work = at_work(&server);
    at_work.until_targets(&["10.0.0.1 site=fra"]);
    let state = at_work.state();
    assert_eq!((state.source.as_str(), state.up, state.targets), (server.url("/targets").as_str(), Some(true), 1));
    let head = server.heads().remove(0).to_ascii_lowercase();
    assert!(head.starts_with("get /targets http/1.1\r\n") && head.contains("accept: application/json\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", server.address)) && head.contains("user-agent: echolot/"), "{head}");
    server.behave(Manner::Json(r#"[{"targets": ["10.0.0.2", "host.example"]}]"#.into()));
    at_work.until_targets(&["10.0.0.2", "host.example"]);
    server.behave(Manner::Json("[]".into()));
    at_work.until_targets(&[]);
    let before = server.heads().len();
    until("it is asked again", || server.heads().len() > before + 1);
    assert_eq!((at_work.changes(), at_work.state().failures), (2, 0));
    assert_eq!(at_work.lines().len(), 3, "{:?}", at_work.lines());
}

/// Each is one line, a failure in the metrics, and no change.
#[test]
fn whatever_a_server_does_wrong_its_last_good_targets_stay() {
    let json = |status| Manner::answer(status, "Content-Type: application/json\r\n", GOOD);
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{rest}").into_bytes();
    let begun = head("Content-Length: 1000\r\n\r\n[{\"targets\": [");
    let cases = [
        ("half a list", Manner::Json("[{\"targets\": [\"10.0.0.2\"".into()), "body:1:24: EOF while parsing a list"),
        (
            "500",
            Manner::Raw(json("500 Internal Server Error")),
            "it answered 500 Internal Server Error, and 200 OK is expected",
        ),
        ("204", Manner::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".into()), "it answered 204 No Content"),
        ("401", Manner::Raw(json("401 Unauthorized")), "it answered 401 Unauthorized"),
        (
            "a page",
            Manner::Raw(Manner::answer("200 OK", "Content-Type: text/html\r\n", GOOD)),
            "its Content-Type is `text/html`",
        ),
        (
            "no type",
            Manner::Raw(Manner::answer("200 OK", "", GOOD)),
            "its Content-Type is none, and application/json is expected",
        ),
        ("a round trip", Manner::Raw(Manner::answer("302 Found", "Location: /targets\r\n", "")), "it leads on and on"),
        ("nowhere", Manner::Raw(Manner::answer("301 Moved Permanently", "", "")), "does not say where to"),
        (
            "elsewhere",
            Manner::Raw(Manner::answer("307 Temporary Redirect", "Location: ftp://x/\r\n", "")),
            "another scheme",
        ),
        ("too long, it says", Manner::Raw(head("Content-Length: 99999999\r\n\r\n")), "it is longer than 1 MiB"),
        ("too long", Manner::Flood(head("\r\n[")), "it is longer than 1 MiB"),
        ("an end within", Manner::Raw(begun.clone()), "it ended within the list"),
        ("a trickle", Manner::Trickle(begun, b' ', Duration::from_millis(50)), "no whole list within 2 s"),
        (
            "slow headers",
            Manner::Trickle(b"HTTP/1.1 200 OK\r\nX: ".into(), b'x', Duration::from_millis(50)),
            "no whole list within 2 s",
        ),
        ("silence", Manner::Silent, "no whole list within 2 s"),
        ("not HTTP", Manner::Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".into()), "invalid HTTP version parsed"),
        ("nothing", Manner::Raw(Vec::new()), "connection closed before message completed"),
        (
            "not UTF-8",
            Manner::Raw(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n\"\xff\"".into(),
            ),
            "body: it is not UTF-8 text",
        ),
        ("another form", Manner::Json("{\"targets\": []}".into()), "expected a list of entries"),
        (
            "where nobody is",
            Manner::Json("[{\"targets\": [\"255.255.255.255\"]}]".into()),
            "255.255.255.255 is in 240.0.0.0/4",
        ),
    ];
    // Side by side: each waits for its server again and again.
    std::thread::scope(|scope| {
        for (what, manner, expected) in cases {
            scope.spawn(move || {
                let server = Server::start(Manner::Json(GOOD.into()));
                let groups = vec![of(http(&server.url("/targets")))];
                let at_work = AtWork::with(Settings { groups, most_bytes: 1 << 20, ..Settings::default() });
                at_work.until_targets(&["10.0.0.1 site=fra"]);
                server.behave(manner);
                until(what, || at_work.state().failures >= 2);
                let state = at_work.state();
                assert_eq!((state.up, state.targets, at_work.changes()), (Some(false), 1, 0), "{what}");
                let said = at_work.lines();
                assert!(
                    said.len() == 2 && said[1].contains(expected) && said[1].ends_with("1 target kept"),
                    "{what}: {said:?}"
                );
                server.behave(Manner::Json("[]".into()));
                at_work.until_targets(&[]);
                assert_eq!(at_work.until_up(true).targets, 0, "{what}");
                assert_eq!(at_work.lines().len(), 3, "{what}: {:?}", at_work.lines());
            });
        }
    });
}

#[test]
fn a_server_that_is_down_at_the_start_is_a_source_that_is_down() {
    // The servers of tests beside this one take a port of 127.0.0.1, which would be free again.
    let taken = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let at_work = AtWork::of(of(http(&format!("http://{address}/"))));
    let state = at_work.state();
    assert_eq!((state.up, state.last_success), (Some(false), None));
    assert!(at_work.lines()[0].contains(&format!("{address}: Connection refused")), "{:?}", at_work.lines());
}

#[test]
fn the_start_does_not_wait_for_a_server_that_is_silent() {
    let server = Server::start(Manner::Silent);
    let group = GroupSources {
        http: vec![HttpSource { refresh_interval: echolot::base::Nanos::from_secs(600), ..http(&server.url("/")) }],
        ..group()
    };
    let discovery =
        echolot::discovery::Discovery::start(&Settings { groups: vec![group], ..Settings::default() }).unwrap();
    let begun = std::time::Instant::now();
    let lists = discovery.first(Duration::from_millis(300));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!((lists.groups[0].len(), discovery.states()[0].up), (2, None));
    // Neither does the end.
    let begun = std::time::Instant::now();
    drop(discovery);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn redirects_are_followed_unless_that_is_not_wanted() {
    let other = Server::start(Manner::Json(GOOD.into()));
    let to = format!("Location: {}\r\n", other.url("/there?x=1"));
    let server = Server::start(Manner::Raw(Manner::answer("308 Permanent Redirect", &to, "")));
    let at_work = at_work(&server);
    at_work.until_targets(&["10.0.0.1 site=fra"]);
    assert!(other.heads()[0].starts_with("GET /there?x=1 HTTP/1.1"));
    let refusing = AtWork::of(of(HttpSource { follow_redirects: false, ..http(&server.url("/targets")) }));
    assert!(refusing.lines()[0].contains("it answered 308 Permanent Redirect"), "{:?}", refusing.lines());
    assert_eq!(refusing.targets().len(), 0);
}

#[test]
fn what_may_be_secret_in_a_url_is_in_no_label_and_no_line() {
    let server = Server::start(Manner::By(Arc::new(|head| match head.contains("?token=geheim1 ") {
        true => Manner::answer("302 Found", "Location: /here?token=geheim2#geheim3\r\n", ""),
        false => Manner::answer("500 Internal Server Error", "Location: /?geheim4\r\n", "geheim5"),
    })));
    let at_work = AtWork::of(of(http(&server.url("/targets?token=geheim1"))));
    at_work.until_up(false);
    assert_eq!(at_work.state().source, server.url("/targets"));
    server.behave(Manner::Raw(Manner::answer("302 Found", "Location: /targets?token=geheim6\r\n", "")));
    until("it is asked again", || at_work.state().failures > 2);
    assert_eq!(at_work.lines().len(), 1);
    assert!(lines("geheim").is_empty(), "{:?}", lines("geheim"));
}

#[test]
fn sources_of_one_name_are_told_apart() {
    let server = Server::start(Manner::Json(GOOD.into()));
    let urls = ["/targets?a", "/targets?b"].map(|path| http(&server.url(path)));
    let at_work = AtWork::of(GroupSources { http: urls.into(), ..group() });
    let names: Vec<String> = at_work.discovery.states().into_iter().map(|state| state.source).collect();
    assert_eq!(names, [server.url("/targets"), format!("{} (2)", server.url("/targets"))]);
}

#[test]
fn ports_are_stripped_and_a_shrink_is_refused_until_it_is_none() {
    let server = Server::start(Manner::Json(r#"[{"targets": ["10.0.0.1:9100", "10.0.0.2:9100"]}]"#.into()));
    let at_work = AtWork::of(of(HttpSource { bounds: bounds(true, 2), ..http(&server.url("/")) }));
    at_work.until_targets(&["10.0.0.1", "10.0.0.2"]);
    server.behave(Manner::Json("[]".into()));
    // Again and again the same list, and again and again it is refused.
    until("it is refused", || at_work.state().failures >= 3);
    assert_eq!((at_work.state().up, at_work.changes()), (Some(false), 0));
    assert!(at_work.lines()[1].contains("it names 0 targets, and min_targets is 2; 2 targets kept"));
    server.behave(Manner::Json(r#"[{"targets": ["10.0.0.3", "10.0.0.4"]}]"#.into()));
    at_work.until_targets(&["10.0.0.3", "10.0.0.4"]);
}
