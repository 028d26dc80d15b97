//! Responses: which apply, and what a mistake in them gets.

use crate::support::{contained, exec, file, load, process, rule};
use hostward_event::event::{Action, Mode};
use hostward_policy::{Responses, RuleSet};

fn rules() -> RuleSet {
    let tagged = rule("Miner started", "proc.name = xmrig").replace("NOTICE\n", "NOTICE\n  tags: [T1496]\n");
    load(&(tagged + &rule("Shell", "proc.name = sh"))).rules
}

fn decide(text: &str, rule: &str, event: &hostward_event::Event) -> Option<(String, Action, Mode)> {
    let rules = rules();
    let (responses, problems) = Responses::load(&[file(text)], &rules);
    assert_eq!(problems, []);
    let response = responses.decide(rules.find(rule).unwrap(), event)?;
    Some((response.name.to_string(), response.action(), response.mode))
}

#[test]
fn the_strongest_response_that_applies_decides() {
    let text = "
- response: record
  rules: ['*']
  mode: enforce
  actions: [alert]
- response: would kill
  rules: ['Miner *']
  actions: [alert, kill]
- response: kill in containers
  tags: [t1496]
  when: container.id != host
  mode: enforce
  actions: [kill]
  owner: team-a
";
    let miner = process("/tmp/xmrig", "");
    let on_host = exec(miner.clone(), &[]);
    let in_container = exec(contained(miner), &[]);
    assert_eq!(
        decide(text, "Miner started", &on_host),
        Some(("would kill".into(), Action::Kill, Mode::Monitor))
    );
    assert_eq!(
        decide(text, "Miner started", &in_container),
        Some(("kill in containers".into(), Action::Kill, Mode::Enforce))
    );
    assert_eq!(decide(text, "Shell", &on_host), Some(("record".into(), Action::Alert, Mode::Enforce)));
}

#[test]
fn a_response_does_not_apply_to_other_rules() {
    let text = "- response: r\n  rules: [Shell]\n  actions: [kill]\n";
    assert_eq!(decide(text, "Miner started", &exec(process("/x", ""), &[])), None);
}

#[test]
fn a_response_with_a_mistake_does_not_load_at_all() {
    let text = "\
- response: a
  rules: [Shell]
  actions: [deny, kil]
- response: b
  rules: [Shel]
  actions: [kill]
  rollout: {ring: canary}
- response: c
  rules: [Shell]
  mode: enforced
  action: [kill]
- response: d
  actions: [alert]
- response: e
  rules: [Shell]
  when: container.ix != host
  actions: [kill]
- response: e
  rules: [Shell]
  actions: []
- rule: not here
";
    let want = "\
rules.yaml:3:13: action `deny` is not supported yet (supported are alert and kill)
rules.yaml:3:19: unknown action `kil` (did you mean `kill`?)
rules.yaml:5:11: warning: no rule fits `Shel` in `rules` (did you mean `Shell`?)
rules.yaml:7:3: key `rollout` is not supported yet (remove it; without it the response applies to every host and container)
rules.yaml:10:9: unknown mode `enforced` (did you mean `enforce`?)
rules.yaml:11:3: unknown key `action` (did you mean `actions`?)
rules.yaml:12:3: response names no rules (add `rules: [NAME]` (globs work) or `tags: [TAG]`)
rules.yaml:16:9: unknown field `container.ix` (did you mean `container.id`?)
rules.yaml:18:3: response `e` is defined twice (give each its own name)
rules.yaml:21:3: entry that begins with `rule` is no response (begin it with `- response: NAME`)";
    let (responses, problems) = Responses::load(&[file(text)], &rules());
    assert_eq!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), want);
    assert!(responses.is_empty());
}
