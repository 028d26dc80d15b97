//! MITRE ATT&CK techniques and tactics among the tags of a rule.

use hostward_event::Text;

const TACTICS: [&str; 14] = [
    "Reconnaissance",
    "Resource Development",
    "Initial Access",
    "Execution",
    "Persistence",
    "Privilege Escalation",
    "Defense Evasion",
    "Credential Access",
    "Discovery",
    "Lateral Movement",
    "Collection",
    "Command and Control",
    "Exfiltration",
    "Impact",
];

fn without_prefix(tag: &str) -> &str {
    match tag.split_at_checked(6) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("mitre_") => rest,
        _ => tag,
    }
}

/// `T1059` and `T1059.004`, in upper case.
pub(super) fn techniques(tags: &[String]) -> Vec<Text> {
    let is_technique = |id: &str| {
        let (base, sub) = id.split_once('.').map_or((id, None), |(base, sub)| (base, Some(sub)));
        let digits =
            |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
        base.strip_prefix(['T', 't']).is_some_and(|number| digits(number, 4))
            && sub.is_none_or(|sub| digits(sub, 3))
    };
    let mut ids: Vec<Text> = Vec::new();
    for id in tags.iter().map(|tag| without_prefix(tag)).filter(|id| is_technique(id)) {
        let id = Text::from(id.to_ascii_uppercase());
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// `mitre_credential_access` is `Credential Access`.
pub(super) fn tactics(tags: &[String]) -> Vec<Text> {
    let mut names: Vec<Text> = Vec::new();
    for tag in tags.iter().filter(|tag| without_prefix(tag).len() < tag.len()) {
        let words = without_prefix(tag).replace('_', " ");
        if let Some(name) = TACTICS.into_iter().find(|name| name.eq_ignore_ascii_case(&words)) {
            let name = Text::from_static(name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn techniques_and_tactics_are_found_among_other_tags() {
        let tags: Vec<String> = [
            "host",
            "mitre_credential_access",
            "T1555",
            "t1059.004",
            "mitre_T1620",
            "TA0003",
            "T12",
            "NIST_800-53_AC-2",
            "T1555",
        ]
        .map(str::to_owned)
        .to_vec();
        let texts = |list: Vec<Text>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(techniques(&tags)), ["T1555", "T1059.004", "T1620"]);
        assert_eq!(texts(tactics(&tags)), ["Credential Access"]);
    }
}
