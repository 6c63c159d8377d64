//! What the doctor says of routes, links and programs.

use super::*;
use echolot::doctor::{self, Check, Options, Status};

/// What doctor says, by the name of the check.
fn examine(options: Options) -> impl Fn(&str) -> Check {
    // It brings its own runtime; a new thread is in the same namespace.
    let report = std::thread::spawn(move || doctor::run(&options)).join().unwrap().unwrap();
    println!("{}", report.to_text());
    let failed = report.checks.iter().any(|check| check.status == Status::Problem);
    assert_eq!(report.has_problem(), failed);
    move |name| report.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

#[test]
#[ignore = "needs root: make test runs it"]
fn doctor_finds_what_is_in_the_way() {
    inside("examined::doctor_finds_what_is_in_the_way", |far| async move {
        let options = Options { targets: vec![BEHIND.into(), HERE.into()], ..Options::default() };
        let check = examine(options.clone());
        assert_eq!(check("privileges").status, Status::Ok);
        assert!(check("near0 link").detail.starts_with("veth, up, carrier, MTU 1500"));
        assert_eq!(check("near0 program").status, Status::Ok);
        assert_eq!(check("route").detail, "2 of 2 targets through near0");
        let gateway = check("gateway 10.99.0.254");
        assert_eq!(gateway.status, Status::Ok);
        assert!(gateway.detail.ends_with("source address 10.99.0.1"), "{gateway:?}");
        assert_eq!(check("target 10.99.0.2").status, Status::Ok);

        sh(&format!("ip -n {far} addr flush dev far0 && ip neigh flush dev near0"));
        let check = examine(options.clone());
        assert_eq!(check("gateway 10.99.0.254").status, Status::Problem);
        assert_eq!(check("target 10.99.0.2").status, Status::Warning);

        sh("ip link set near0 down");
        let check = examine(Options { interface: Some("near0".to_owned()), ..Options::default() });
        let link = check("near0 link");
        assert_eq!((link.status, link.detail.contains("ip link set near0 up")), (Status::Problem, true));
    });
}

#[test]
#[ignore = "needs root: make test runs it"]
fn an_attached_program_is_told() {
    inside("examined::an_attached_program_is_told", |_| async move {
        let folder = std::env::temp_dir().join(format!("el-route-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let (source, object) = (folder.join("pass.c"), folder.join("pass.o"));
        let program = "__attribute__((section(\"xdp\"), used)) int let_pass(void *frame) { return 2; }
                       char terms[] __attribute__((section(\"license\"), used)) = \"GPL\";";
        std::fs::write(&source, program).unwrap();
        let (source, object) = (source.display(), object.display());
        sh(&format!("clang -O2 -g -target bpf -c {source} -o {object} && ip link set near0 xdp obj {object} sec xdp"));
        std::fs::remove_dir_all(&folder).unwrap();
        let interface = Interface::by_name(&route::connect().unwrap(), "near0").await.unwrap();
        let program = interface.xdp.unwrap();
        assert_eq!((program.name.as_deref(), program.mode), (Some("let_pass"), XdpMode::Native));
        let check = examine(Options { interface: Some("near0".to_owned()), ..Options::default() });
        let found = check("near0 program");
        assert_eq!(found.status, Status::Problem);
        assert!(found.detail.contains(&format!("let_pass (program {}, native)", program.id)), "{found:?}");
    });
}
