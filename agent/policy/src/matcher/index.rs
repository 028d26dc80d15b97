//! The rules of one kind of event, by what their guards want.

use super::guard::{Guard, Want};
use aho_corasick::AhoCorasick;
use foldhash::fast::FixedState;
use hostward_event::registry::Value;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Places of rules in the list of a kind.
type Places = Box<[u32]>;

/// Rules as bits.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn set(&mut self, place: u32) {
        let word = (place / 64) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= 1 << (place % 64);
        }
    }

    pub(super) fn copy(&mut self, other: &Self) {
        self.0.clear();
        self.0.extend_from_slice(&other.0);
    }

    /// Takes the first one out.
    pub(super) fn pop(&mut self) -> Option<usize> {
        let (at, word) = self.0.iter_mut().enumerate().find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        Some(at * 64 + bit as usize)
    }
}

/// What one operand tells.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub(super) operand: usize,
    /// By the whole text.
    whole: HashMap<Box<[u8]>, Places, FixedState>,
    /// By what is in it; the rules of each pattern of the automaton.
    parts: Option<(AhoCorasick, Vec<Places>)>,
}

impl Probe {
    /// Marks the rules that may match where the operand has this value.
    pub(super) fn mark(&self, value: &Value<'_>, wanted: &mut Bits) {
        match value {
            Value::Text(text) => self.mark_text(text, wanted),
            Value::List(list) => list.iter().for_each(|text| self.mark_text(text, wanted)),
            _ => {}
        }
    }

    fn mark_text(&self, text: &[u8], wanted: &mut Bits) {
        if let Some(places) = self.whole.get(text) {
            places.iter().for_each(|place| wanted.set(*place));
        }
        if let Some((automaton, rules)) = &self.parts {
            for found in automaton.find_overlapping_iter(text) {
                let places = rules.get(found.pattern().as_usize());
                places.into_iter().flatten().for_each(|place| wanted.set(*place));
            }
        }
    }
}

/// Sorts rules into those that an operand tells and the others, which are asked of every event.
pub(super) fn index(guards: impl Iterator<Item = Option<Rc<Guard>>>) -> (Vec<Probe>, Bits) {
    let mut always = Bits::default();
    let mut wants: BTreeMap<usize, BTreeMap<Want, Vec<u32>>> = BTreeMap::new();
    for (place, guard) in (0..).zip(guards) {
        let Some(guard) = guard else {
            always.set(place);
            continue;
        };
        for (operand, want) in &guard.probes {
            wants.entry(*operand).or_default().entry(want.clone()).or_default().push(place);
        }
    }
    let probes = wants.into_iter().map(|(operand, wants)| {
        let mut whole = HashMap::with_hasher(FixedState::default());
        let (mut patterns, mut rules) = (Vec::new(), Vec::new());
        for (want, places) in wants {
            match want {
                Want::Whole(text) => drop(whole.insert(text, places.into())),
                Want::Part(part) => {
                    patterns.push(part);
                    rules.push(places.into());
                }
            }
        }
        let parts = (!patterns.is_empty()).then(|| AhoCorasick::new(&patterns).ok()).flatten();
        Probe { operand, whole, parts: parts.map(|automaton| (automaton, rules)) }
    });
    (probes.collect(), always)
}
