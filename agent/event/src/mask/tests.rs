//! Command lines as people write them, with and without secrets.

use super::*;
use crate::event::{Action, Actor, Mode, Priority, RuleInfo, Surroundings};
use crate::fact::Outcome;
use crate::raw::{Args, FileType, Inode, OpenCall, RawOpen};
use crate::{EventId, IdMint};
use proptest::prelude::*;

fn args(list: &[&[u8]]) -> Args {
    let mut raw = list.join(&0);
    raw.push(0);
    Args { total_bytes: u32::try_from(raw.len()).unwrap(), raw: Text::from(raw) }
}

fn process(list: &[&[u8]]) -> Arc<Process> {
    Arc::new(Process { path: Text::copy(list[0]), args: args(list), ..Process::default() })
}

fn event(process: Arc<Process>) -> Event {
    Event {
        id: EventId::default(),
        sequence: 1,
        time_ns: 0,
        created_ns: 0,
        source: None,
        tid: 1,
        process: Some(process),
        lineage: Arc::default(),
        session_leader: None,
        around: Arc::new(Surroundings::default()),
        body: Body::Exec { killed: false },
        program: None,
        inside: None,
        domain: None,
        partial: false,
        alert: None,
    }
}

fn masker() -> Masker {
    Masker::new(&MaskConfig::default()).unwrap()
}

fn shown(process: &Process) -> String {
    process.args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>().join("|")
}

fn masked(line: &str) -> String {
    let list: Vec<&[u8]> = line.split('|').map(str::as_bytes).collect();
    let before = Arc::new(event(process(&list)));
    let after = masker().mask(Arc::clone(&before));
    let text = shown(after.process.as_ref().unwrap());
    assert_eq!(Arc::ptr_eq(&before, &after), text == line, "the same Arc exactly when nothing changed");
    text
}

#[test]
fn secrets_on_command_lines() {
    for (line, expected) in [
        // options
        ("psql|--password|hunter22", "psql|--password|<masked:5-8>"),
        ("app|--password=hunter22!|-v", "app|--password=<masked:9-16>|-v"),
        (
            "app|--client-secret|s|--db.password=a b,c",
            "app|--client-secret|<masked:1-4>|--db.password=<masked:5-8>",
        ),
        (
            "java|-Djavax.net.ssl.keyStorePassword=changeit|-jar|a.jar",
            "java|-Djavax.net.ssl.keyStorePassword=<masked:5-8>|-jar|a.jar",
        ),
        ("keytool|-storepass|changeit", "keytool|-storepass|<masked:5-8>"),
        ("openssl|rsa|-passin|pass:hunter2", "openssl|rsa|-passin|pass:<masked:5-8>"),
        ("app|--token|-secret-that-begins-with-a-dash", "app|--token|<masked:17-32>"),
        // programs with short options
        ("mysql|-u|root|-phunter2", "mysql|-u|root|-p<masked:5-8>"),
        ("/usr/bin/mysqldump|-phunter2|db", "/usr/bin/mysqldump|-p<masked:5-8>|db"),
        ("sudo|mysql|-phunter2", "sudo|mysql|-p<masked:5-8>"),
        ("sshpass|-p|hunter2|ssh|h", "sshpass|-p|<masked:5-8>|ssh|h"),
        ("redis-cli|-a|hunter2", "redis-cli|-a|<masked:5-8>"),
        ("curl|-u|joe:hunter2|http://h/", "curl|-u|joe:<masked:5-8>|http://h/"),
        ("curl|-ujoe:hunter2|http://h/", "curl|-ujoe:<masked:5-8>|http://h/"),
        ("docker|login|-u|joe|-p|hunter2", "docker|login|-u|joe|-p|<masked:5-8>"),
        ("smbclient|-U|joe%hunter2|//h/s", "smbclient|-U|joe%<masked:5-8>|//h/s"),
        ("ldapsearch|-D|cn=a|-w|hunter2", "ldapsearch|-D|cn=a|-w|<masked:5-8>"),
        // headers and bodies
        ("curl|-H|Authorization: Bearer abcdefghij", "curl|-H|Authorization: Bearer <masked:9-16>"),
        ("curl|-HX-Api-Key: 12345678", "curl|-HX-Api-Key: <masked:5-8>"),
        (
            "curl|-d|{\"user\":\"joe\",\"password\":\"hunter2\"}",
            "curl|-d|{\"user\":\"joe\",\"password\":\"<masked:5-8>\"}",
        ),
        // URLs
        ("git|clone|https://joe:p@ss@h/r.git", "git|clone|https://joe:<masked:1-4>@h/r.git"),
        ("curl|https://h/?a=1&access_token=hunter2&b=2", "curl|https://h/?a=1&access_token=<masked:5-8>&b=2"),
        // variables
        ("env|AWS_SECRET_ACCESS_KEY=abcdefgh|aws", "env|AWS_SECRET_ACCESS_KEY=<masked:5-8>|aws"),
        ("docker|run|--env=DB_PASSWORD=hunter2|i", "docker|run|--env=DB_PASSWORD=<masked:5-8>|i"),
        (
            "helm|upgrade|--set|a=1,db.password=hunter2,b=2",
            "helm|upgrade|--set|a=1,db.password=<masked:5-8>,b=2",
        ),
        // shells
        ("sh|-c|PGPASSWORD=hunter2 psql -h db", "sh|-c|PGPASSWORD=<masked:5-8> psql -h db"),
        ("sh|-c|mysql -u root -phunter2 db | wc", "sh|-c|mysql -u root -p<masked:5-8> db | wc"),
        ("sh|-c|app --token 'a b c d' --x 1", "sh|-c|app --token '<masked:5-8>' --x 1"),
        (
            "sh|-c|curl -H \"Authorization: Basic am9lOng=\" h",
            "sh|-c|curl -H \"Authorization: Basic <masked:5-8>\" h",
        ),
        // tokens by their form
        ("app|AKIAIOSFODNN7EXAMPLE", "app|<masked:17-32>"),
        ("app|ghp_0123456789abcdefghijABCDEFGHIJ012345", "app|<masked:33-64>"),
        ("app|xoxb-123456789012-abcdefABCDEF", "app|<masked:17-32>"),
        ("app|x=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "app|x=<masked:33-64>"),
    ] {
        assert_eq!(masked(line), expected);
    }
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    for line in [
        "psql|--password-file|/run/pw",
        "app|--password-file=/run/pw|--token-ttl=60|--secret-name=web",
        "docker|login|--password-stdin",
        "ansible|--ask-pass|site.yml",
        "psql|--no-password|-h|db",
        "psql|--password|--host|db",
        "ssh|-p|2222|host",
        "mkdir|-p|/a/b",
        "docker|run|-p|80:80|nginx",
        "mysql|-p|-u|root",
        "env|PWD=/root|OLDPWD=/|ls",
        "ansible|--private-key|/home/joe/.ssh/id_ed25519",
        "openssl|rsa|-passin|file:/run/pw",
        "train|--tokenizer|gpt2|--max-token|100",
        "git|clone|https://github.com/o/r.git",
        "git|clone|ssh://git@github.com:22/o/r.git",
        "curl|http://h:80/?x=a@b",
        "grep|-r|monkey|/usr/share",
        "sort|--key=2,3",
        "curl|-u|joe|http://h/",
        "sh|-c|while true; do sleep 1; done",
        "passwd|joe",
    ] {
        assert_eq!(masked(line), line);
    }
}

#[test]
fn bytes_that_are_no_utf8_survive_and_hide_nothing() {
    let before = event(process(&[b"\xffapp", b"\xfe", b"--password=\xff\xfe\xfd", b"\xff"]));
    let after = masker().mask(Arc::new(before));
    let args: Vec<&[u8]> = after.process.as_ref().unwrap().args.iter().collect();
    assert_eq!(args, [&b"\xffapp"[..], b"\xfe", b"--password=<masked:1-4>", b"\xff"]);
}

#[test]
fn cut_arguments_stay_cut_and_whole_ones_whole() {
    let mut cut = Process::clone(&process(&[b"app", b"--password=hunter2hunter2", b"x"]));
    cut.args = Args { raw: Text::from("app\0--password=hunter2hun"), total_bytes: 9_000 };
    let after = masker().mask(Arc::new(event(Arc::new(cut))));
    let args = &after.process.as_ref().unwrap().args;
    assert_eq!(args.raw.as_bytes(), b"app\0--password=<masked:9-16>");
    assert!(args.truncated());
    let whole = masker().mask(Arc::new(event(process(&[b"app", b"--password=x"]))));
    assert!(!whole.process.as_ref().unwrap().args.truncated());
}

#[test]
fn ancestors_and_the_session_leader_are_masked_once_and_shared() {
    let parent = process(&[b"sh", b"-c", b"mysql -phunter2"]);
    let mut first = event(process(&[b"ls"]));
    first.lineage = [process(&[b"sh"]), Arc::clone(&parent)].into();
    first.session_leader = Some(Arc::clone(&parent));
    let masker = masker();
    let second = masker.mask(Arc::new(first.clone()));
    let first = masker.mask(Arc::new(first));
    assert_eq!(shown(&first.lineage[1]), "sh|-c|mysql -p<masked:5-8>");
    assert!(Arc::ptr_eq(&first.lineage[1], &second.lineage[1]), "one masked snapshot for many events");
    assert!(Arc::ptr_eq(&first.lineage[1], first.session_leader.as_ref().unwrap()));
    assert_eq!(shown(&parent), "sh|-c|mysql -phunter2", "the table's own snapshot is untouched");
}

fn alert(message: &str) -> Arc<Alert> {
    let rule = RuleInfo {
        name: Text::from("r"),
        description: Text::EMPTY,
        priority: Priority::Notice,
        tags: Vec::new(),
        technique_ids: Vec::new(),
        tactics: Vec::new(),
        source: Text::EMPTY,
        file_hash: Text::EMPTY,
        output_fields: Vec::new(),
    };
    Arc::new(Alert {
        trigger: EventId::default(),
        rule: Arc::new(rule),
        message: Text::from(message),
        response: Text::EMPTY,
        owner: Text::EMPTY,
        mode: Mode::Monitor,
        action: Action::Alert,
        actor: Actor::None,
        outcome: Outcome::Alerted,
        detail: Text::EMPTY,
        matched_ns: 0,
        responded_ns: 0,
    })
}

#[test]
fn an_alerts_message_hides_what_the_arguments_hide() {
    let mut before = event(process(&[b"redis-cli", b"-h", b"db", b"-a", b"hunter2"]));
    before.lineage = [process(&[b"sh", b"-c", b"x --token s3cr3t"])].into();
    before.alert = Some(alert(
        "client (command=redis-cli -h db -a hunter2 parent=sh -c x --token s3cr3t last=hunter2, PGPASSWORD=other1 )",
    ));
    let after = masker().mask(Arc::new(before));
    assert_eq!(
        after.alert.as_ref().unwrap().message.to_string(),
        "client (command=redis-cli -h db -a <masked:5-8> parent=sh -c x --token <masked:5-8> \
         last=<masked:5-8>, PGPASSWORD=<masked:5-8> )"
    );
}

#[test]
fn paths_lose_tokens_and_keep_everything_else() {
    let open = |arg: &str| RawOpen {
        call: OpenCall::Openat,
        flags: 0,
        mode: 0,
        result: 3,
        dirfd: -100,
        arg: Text::from(arg),
        base: Text::EMPTY,
        path: Text::from(arg),
        inode: Inode { mode: 0o100_644, ..Inode::default() },
        created: false,
        shared_memory: false,
    };
    let mask = |arg: &str| {
        let body = Body::Open(Box::new(open(arg)));
        let after = masker().mask(Arc::new(Event { body, ..event(process(&[b"cat"])) }));
        let Body::Open(open) = &after.body else { panic!() };
        assert_eq!(open.arg, open.path);
        open.path.to_string()
    };
    assert_eq!(mask("/tmp/AKIAIOSFODNN7EXAMPLE.txt"), "/tmp/<masked:17-32>.txt");
    for path in ["/etc/shadow", "/run/secrets/token=abc", "/home/joe/password=hunter2"] {
        assert_eq!(mask(path), path);
    }
    assert_eq!(FileType::from_mode(0o100_644), FileType::File);
}

#[test]
fn configuration_adds_names_and_patterns_and_can_turn_it_off() {
    let config = MaskConfig {
        names: vec!["*_dsn".into()],
        patterns: vec!["emp-(?P<secret>[0-9]{6})".into()],
        enabled: true,
    };
    let masker = Masker::new(&config).unwrap();
    let line: [&[u8]; 3] = [b"app", b"SENTRY_DSN=abcdef", b"emp-123456"];
    let after = masker.mask(Arc::new(event(process(&line))));
    assert_eq!(shown(after.process.as_ref().unwrap()), "app|SENTRY_DSN=<masked:5-8>|emp-<masked:5-8>");
    let off = Masker::new(&MaskConfig { enabled: false, ..config }).unwrap();
    let before = Arc::new(event(process(&line)));
    assert!(Arc::ptr_eq(&before, &off.mask(Arc::clone(&before))));
    let wrong = Masker::new(&MaskConfig { names: vec!["a b".into()], ..MaskConfig::default() }).unwrap_err();
    assert!(wrong.to_string().contains("\"a b\"") && !wrong.hint().is_empty());
}

#[test]
fn a_snapshot_that_took_the_place_of_another_is_judged_by_itself() {
    // Snapshots come and go at the same addresses; memory of the dead must not answer for the living.
    let masker = masker();
    for round in 0..10_000_u32 {
        let list: [&[u8]; 2] = if round % 2 == 0 { [b"ls", b"-l"] } else { [b"app", b"--password=x"] };
        let id = IdMint::new("m", "b").entity(round, 0);
        let one = Process { entity_id: id, args: args(&list), ..Process::default() };
        let after = masker.mask(Arc::new(event(Arc::new(one))));
        let after = after.process.as_ref().unwrap();
        assert_eq!(after.entity_id, id);
        assert_eq!(shown(after).contains("masked"), round % 2 == 1);
    }
}

proptest! {
    #[test]
    fn masking_never_panics_and_masking_twice_changes_nothing_more(
        list in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(1_u8.., 0..24),
                "(--?)?(password|token|api[-_]key|user|p)[= ]?[ -~]{0,20}".prop_map(String::into_bytes),
                "[a-z]{1,4}://[a-z:@/]{0,16}".prop_map(String::into_bytes),
                Just(b"mysql".to_vec()),
                Just(b"curl".to_vec()),
            ],
            1..8,
        )
    ) {
        let list: Vec<&[u8]> = list.iter().map(Vec::as_slice).collect();
        let masker = masker();
        let once = masker.mask(Arc::new(event(process(&list))));
        let twice = masker.mask(Arc::clone(&once));
        prop_assert_eq!(
            once.process.as_ref().map(|p| p.args.iter().count()),
            Some(list.len()),
            "arguments keep their places"
        );
        prop_assert_eq!(shown(once.process.as_ref().unwrap()), shown(twice.process.as_ref().unwrap()));
    }
}
