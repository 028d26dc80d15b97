//! Lists: names that are replaced by their items before a condition is parsed.
//!
//! The replacement is textual, as the published language has it: wherever the name stands between
//! blanks or `( ) , =`, also inside quotes. Positions survive, see [`Sourced`].

use crate::problem::Fault;
use crate::sourced::Sourced;
use std::collections::HashMap;
use std::rc::Rc;

/// Most bytes of a condition after lists are put in.
const MAX_CONDITION_BYTES: usize = 1 << 20;
/// Most bytes of all conditions of a load after lists are put in.
const MAX_TOTAL_BYTES: usize = 64 << 20;
/// Deepest chain of items that are themselves list names.
const MAX_CHAIN: usize = 64;

const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

fn is_delimiter(c: char) -> bool {
    BLANKS.contains(&c) || matches!(c, '(' | ')' | ',' | '=')
}

/// The lists of one load, in the order of their definition.
#[derive(Default)]
pub(crate) struct Lists {
    by_name: HashMap<String, usize>,
    /// Items joined by commas, as they are put in; empty for a list without items.
    texts: Vec<String>,
    /// The same after the names of later lists among them are replaced.
    expanded: HashMap<usize, Rc<str>>,
    /// Bytes of the conditions so far.
    total_bytes: usize,
}

impl Lists {
    /// Adds a list behind the others.
    pub(crate) fn add(&mut self, name: String, text: String) {
        self.by_name.insert(name, self.texts.len());
        self.texts.push(text);
    }

    /// The items of a list that stands before, for a list that nests it.
    pub(crate) fn items(&self, name: &str) -> Option<&str> {
        self.texts.get(*self.by_name.get(name)?).map(String::as_str)
    }

    /// Puts lists in the place of their names.
    pub(crate) fn expand(&mut self, condition: &Sourced) -> Result<Sourced, Fault> {
        let expanded = self.replace(condition, 0, 0)?;
        self.total_bytes += expanded.text().len();
        if self.total_bytes <= MAX_TOTAL_BYTES {
            return Ok(expanded);
        }
        let reason =
            format!("conditions have more than {MAX_TOTAL_BYTES} bytes together after lists are put in");
        Err(Fault::new(0, reason, "shorten the lists that many rules use"))
    }

    fn replace(&mut self, input: &Sourced, from: usize, chain: usize) -> Result<Sourced, Fault> {
        let text = input.text();
        let mut out = Sourced::default();
        let mut at = 0;
        while at < text.len() {
            let rest = text.get(at..).unwrap_or_default();
            let len = rest.find(is_delimiter).unwrap_or(rest.len());
            let word = rest.get(..len).unwrap_or_default();
            let Some(list) = self.by_name.get(word).copied().filter(|list| *list >= from) else {
                // The word and the delimiter behind it stay.
                let end =
                    at + len + rest.get(len..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
                out.push_part(input, at, end);
                at = end;
                continue;
            };
            let items = self.list_text(list, chain, at)?;
            let kept = out.text().trim_end_matches(BLANKS).len();
            out.truncate(kept);
            let behind = rest.get(len..).unwrap_or_default();
            let mut end = at + len + (behind.len() - behind.trim_start_matches(BLANKS).len());
            if items.is_empty() {
                // Without items one comma has to go as well.
                if out.text().ends_with(',') {
                    out.truncate(kept - 1);
                } else if text.get(end..).is_some_and(|rest| rest.starts_with(',')) {
                    end += 1;
                }
            }
            if !out.text().is_empty() {
                out.push(" ");
            }
            out.push_for(&items, input, at);
            out.push(" ");
            at = end;
            if out.text().len() > MAX_CONDITION_BYTES {
                let reason =
                    format!("condition has more than {MAX_CONDITION_BYTES} bytes after lists are put in");
                return Err(Fault::new(at, reason, "shorten the lists or split the rule"));
            }
        }
        Ok(out)
    }

    fn list_text(&mut self, list: usize, chain: usize, at: usize) -> Result<Rc<str>, Fault> {
        if let Some(known) = self.expanded.get(&list) {
            return Ok(Rc::clone(known));
        }
        if chain >= MAX_CHAIN {
            let reason = format!("lists name each other more than {MAX_CHAIN} deep");
            return Err(Fault::new(at, reason, "define a list before the lists that use it"));
        }
        let text = Sourced::plain(self.texts.get(list).cloned().unwrap_or_default());
        let text: Rc<str> = match self.replace(&text, list + 1, chain + 1) {
            Ok(expanded) => expanded.text().trim_end_matches(BLANKS).into(),
            Err(fault) => return Err(Fault { at, ..fault }),
        };
        self.expanded.insert(list, Rc::clone(&text));
        Ok(text)
    }
}

/// An item as it is put into a condition: with quotes when it has blanks and none yet.
pub(crate) fn quote(item: &str) -> String {
    if item.contains(BLANKS) && !item.starts_with(['"', '\'']) {
        format!("\"{item}\"")
    } else {
        item.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(lists: &[(&str, &str)], condition: &str) -> String {
        let mut all = Lists::default();
        for (name, text) in lists {
            all.add((*name).to_owned(), (*text).to_owned());
        }
        all.expand(&Sourced::plain(condition.to_owned())).unwrap().text().to_owned()
    }

    #[test]
    fn a_name_is_replaced_where_it_stands_alone() {
        let lists = [("shells", "ash, bash"), ("none", ""), ("nc", "netcat")];
        let cases = [
            ("proc.name in (shells)", "proc.name in ( ash, bash )"),
            ("proc.name in (x, shells, y)", "proc.name in (x, ash, bash , y)"),
            ("proc.name=shells", "proc.name= ash, bash "),
            ("proc.name in (myshells, shells2)", "proc.name in (myshells, shells2)"),
            ("proc.cmdline = \"run shells now\"", "proc.cmdline = \"run ash, bash now\""),
            ("proc.cmdline = \"shells\"", "proc.cmdline = \"shells\""),
            ("x in (a, none, b)", "x in (a  , b)"),
            ("x in (none, b)", "x in (   b)"),
            ("x in (a, none)", "x in (a  )"),
            ("x in (none)", "x in (  )"),
        ];
        for (condition, want) in cases {
            assert_eq!(expand(&lists, condition), want, "{condition}");
        }
    }

    #[test]
    fn an_item_that_names_a_later_list_is_replaced_too_and_an_earlier_one_is_not() {
        let lists = [("first", "a"), ("second", "first, third"), ("third", "b, first")];
        assert_eq!(expand(&lists, "x in (second)"), "x in ( first, b, first )");
    }

    #[test]
    fn lists_that_double_each_other_do_not_cost_exponential_time() {
        let lists: Vec<(String, String)> =
            (0..60).map(|n| (format!("l{n}"), format!("l{0}, l{0}", n + 1))).collect();
        let mut all = Lists::default();
        for (name, text) in lists {
            all.add(name, text);
        }
        assert!(all.expand(&Sourced::plain("x in (l0)".to_owned())).is_err());
    }
}
