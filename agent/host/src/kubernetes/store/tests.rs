use super::*;
use hostward_event::workload::ImageFacts;
use proptest::prelude::*;

fn known(uid: &str, name: &str, containers: &[&str]) -> Known {
    let mut facts = PodFacts::new(Source::KubernetesApi, uid.into());
    facts.name = name.into();
    let container = |id: &&str| {
        let facts = ContainerFacts {
            source: Source::KubernetesApi,
            id: (*id).into(),
            runtime: Text::EMPTY,
            name: Text::EMPTY,
            image: ImageFacts::default(),
            command: Vec::new(),
            labels: BTreeMap::new(),
            mounts: Vec::new(),
            privileged: None,
            capabilities: Vec::new(),
            started_ns: 0,
            sandbox: false,
            sandbox_id: Text::EMPTY,
            pod_uid: uid.into(),
        };
        (facts.id.clone(), Arc::new(facts))
    };
    let containers = containers.iter().map(container).collect();
    Known { facts: Arc::new(facts), containers, reference: None, is_firm: true }
}

fn shown(facts: &[Fact]) -> String {
    let word = |fact: &Fact| match fact {
        Fact::Pod(pod) => format!("+{}/{}", pod.uid, pod.name),
        Fact::PodGone { uid, .. } => format!("-{uid}"),
        Fact::Container(container) => format!("+c{}", container.id),
        Fact::ContainerGone { id, .. } => format!("-c{id}"),
        other => panic!("{other:?}"),
    };
    facts.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn only_changes_are_told() {
    let mut store = Store::new(10);
    let mut put =
        |uid: &str, name, containers: &[&str]| shown(&store.put(uid.into(), known(uid, name, containers)));
    assert_eq!(put("a", "web", &["1"]), "+a/web +c1");
    assert_eq!(put("a", "web", &["1"]), "");
    assert_eq!(put("a", "web", &["1", "2"]), "+c2");
    assert_eq!(put("a", "web2", &["2"]), "+a/web2 -c1");
    assert_eq!(put("b", "db", &["3"]), "+b/db +c3");
    assert_eq!((store.pods(), store.containers()), (2, 2));
    assert_eq!(shown(&store.retain(&BTreeSet::from(["b".into()]))), "-c2 -a");
    assert_eq!(shown(&store.remove(&"b".into())), "-c3 -b");
    assert_eq!(shown(&store.remove(&"b".into())), "");
    assert_eq!((store.pods(), store.containers()), (0, 0));
}

#[test]
fn nobody_takes_anothers_uid_nor_more_room_than_there_is() {
    let mut store = Store::new(2);
    store.put("a".into(), known("hash", "static", &[]));
    assert_eq!(shown(&store.put("b".into(), known("hash", "forged", &[]))), "");
    assert_eq!(shown(&store.put("c".into(), known("c", "c", &[]))), "+c/c");
    assert_eq!(shown(&store.put("d".into(), known("d", "d", &["1"]))), "");
    assert_eq!((store.pods(), store.refused(), store.containers()), (2, 1, 0));
    assert_eq!(shown(&store.remove(&"a".into())), "-hash");
    assert_eq!(shown(&store.put("d".into(), known("d", "d", &[]))), "+d/d");
    assert_eq!(shown(&store.retain(&BTreeSet::new())), "-c -d");
    assert_eq!(store.refused(), 0);
}

#[test]
fn the_memory_has_a_bound_whatever_pods_say() {
    let mut store = Store::new(usize::MAX);
    let heavy = |number: usize| {
        let mut known = known(&format!("p{number}"), "x", &[]);
        let mut facts = (*known.facts).clone();
        facts.annotations = (0..8).map(|n| (Text::from(format!("{n}")), "v".repeat(4_000).into())).collect();
        known.facts = Arc::new(facts);
        known
    };
    let mut count = 0;
    while store.admits(&format!("p{count}").into(), &heavy(count)) {
        store.put(format!("p{count}").into(), heavy(count));
        count += 1;
    }
    assert!((1_500..2_200).contains(&count) && store.bytes <= MAX_BYTES, "{count}");
    assert_eq!((store.pods(), store.refused()), (count, 1));
    // One that is there may change, and one that goes makes room.
    assert_eq!(shown(&store.put("p0".into(), known("p0", "y", &[]))), "+p0/y");
    store.remove(&"p1".into());
    assert_eq!(store.put(format!("p{count}").into(), heavy(count)).len(), 1);
    assert_eq!(store.refused(), 0);
}

#[test]
fn a_pod_that_is_told_under_another_uid_is_another() {
    let mut store = Store::new(2);
    store.put("a".into(), known("a", "x", &[]));
    assert_eq!(shown(&store.put("a".into(), known("hash", "x", &[]))), "-a +hash/x");
    assert_eq!(shown(&store.remove(&"a".into())), "-hash");
}

proptest! {
    /// Whoever follows the facts knows what the store knows.
    #[test]
    fn the_facts_add_up(steps in prop::collection::vec((0u8..4, 0u8..4, 0u8..3, 0u8..8), 0..60)) {
        let mut store = Store::new(3);
        let (mut pods, mut containers) = (BTreeMap::new(), BTreeSet::new());
        for (step, api_uid, alias, ids) in steps {
            let api_uid = Text::from(format!("u{api_uid}"));
            let news = match step {
                0 => store.remove(&api_uid),
                1 if ids == 0 => store.retain(&BTreeSet::from([api_uid])),
                _ => {
                    let uid = if alias == 0 { "hash".to_owned() } else { api_uid.to_string() };
                    let ids: Vec<String> = (0..3).filter(|bit| ids & 1 << bit != 0).map(|n| format!("{api_uid}-{n}")).collect();
                    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                    store.put(api_uid, known(&uid, &format!("n{alias}"), &ids))
                }
            };
            for fact in news {
                match fact {
                    Fact::Pod(pod) => { pods.insert(pod.uid.clone(), pod); }
                    Fact::PodGone { uid, .. } => prop_assert!(pods.remove(&uid).is_some()),
                    Fact::Container(container) => { containers.insert(container.id.clone()); }
                    Fact::ContainerGone { id, .. } => prop_assert!(containers.remove(&id)),
                    _ => {}
                }
            }
            let all = store.snapshot();
            prop_assert!(all.len() <= 3);
            let told: BTreeMap<_, _> = all.iter().map(|(_, known)| (known.facts.uid.clone(), Arc::clone(&known.facts))).collect();
            prop_assert_eq!(&told, &pods);
            let ids: BTreeSet<_> = all.iter().flat_map(|(_, known)| known.containers.keys().cloned()).collect();
            prop_assert_eq!(&ids, &containers);
            prop_assert_eq!(ids.len(), store.containers());
            prop_assert_eq!(store.bytes, all.iter().map(|(_, known)| known.bytes()).sum::<usize>());
        }
    }
}
