//! A YAML file as a tree of nodes that know where they stand.
//!
//! Scalars keep the text that the author wrote: `0x10`, `yes` and `1.0` in a list of process names
//! are names, which is why no typed deserializer stands between. Everything is bounded: nesting,
//! the number of nodes, and what aliases multiply.

use crate::problem::Fault;
use granit_parser::{Event, Parser, ScalarStyle};
use std::collections::HashMap;
use std::rc::Rc;

/// Largest file that is read, in bytes.
pub(crate) const MAX_FILE_BYTES: usize = 16 << 20;
/// Most nodes of one file, those that aliases repeat included.
const MAX_NODES: usize = 500_000;
/// Most bytes of text that aliases repeat in one file.
const MAX_ALIAS_BYTES: usize = 1 << 20;
/// Deepest nesting; a rule file needs about six.
const MAX_DEPTH: usize = 64;

/// A scalar and the source range it stands in.
#[derive(Debug)]
pub(crate) struct Scalar {
    /// Its value, with YAML's quoting and folding undone.
    pub(crate) text: String,
    /// How it is written.
    pub(crate) style: ScalarStyle,
    /// Byte offset of its first character (of the `>` or `|` of a block).
    pub(crate) start: usize,
    /// Byte offset behind its last character.
    pub(crate) end: usize,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Scalar(Rc<Scalar>),
    Sequence(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Byte offset in the file.
    pub(crate) at: usize,
    pub(crate) kind: Kind,
    /// Number of nodes in this tree, itself included.
    weight: usize,
    /// Bytes of text in this tree.
    bytes: usize,
}

impl Node {
    pub(crate) fn scalar(&self) -> Option<&Rc<Scalar>> {
        if let Kind::Scalar(scalar) = &self.kind { Some(scalar) } else { None }
    }

    /// True for a value that was left out: `items:` with nothing behind it.
    pub(crate) fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| {
            scalar.style == ScalarStyle::Plain && matches!(scalar.text.as_str(), "" | "~" | "null")
        })
    }

    /// The word for what it is, in messages.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Scalar(_) if self.is_null() => "nothing",
            Kind::Scalar(_) => "text",
            Kind::Sequence(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// A collection that is still open.
struct Open {
    at: usize,
    anchor: usize,
    map: bool,
    children: Vec<Node>,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    alias_bytes: usize,
}

impl Builder {
    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Fault::new(
                node.at,
                format!("the file has more than {MAX_NODES} nodes, those that aliases repeat included"),
                "split it into several files",
            ));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
            // The copy that waits for its aliases costs as much as the node itself.
            self.nodes += node.weight;
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.documents.push(node),
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: usize) -> Result<(), Fault> {
        let Some(target) = self.anchors.get(&id) else {
            return Err(Fault::new(
                at,
                "alias stands inside the node that it repeats",
                "write the value out",
            ));
        };
        self.nodes += target.weight;
        self.alias_bytes += target.bytes;
        if self.nodes > MAX_NODES || self.alias_bytes > MAX_ALIAS_BYTES {
            return Err(Fault::new(
                at,
                format!("aliases repeat more than {MAX_NODES} nodes or {MAX_ALIAS_BYTES} bytes of text"),
                "use lists and macros of the rule language instead of YAML aliases",
            ));
        }
        let node = Node { at, ..target.clone() };
        self.add(node, 0)
    }

    fn begin(&mut self, at: usize, anchor: usize, map: bool) -> Result<(), Fault> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(
                at,
                format!("nested deeper than {MAX_DEPTH} levels"),
                "a rule file needs about six levels; look for a bracket that is not closed",
            ));
        }
        self.open.push(Open { at, anchor, map, children: Vec::new() });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Open { at, anchor, map, children }) = self.open.pop() else { return Ok(()) };
        let weight = 1 + children.iter().map(|child| child.weight).sum::<usize>();
        let bytes = children.iter().map(|child| child.bytes).sum();
        let kind = if map {
            let mut pairs = Vec::with_capacity(children.len() / 2);
            let mut rest = children.into_iter();
            while let (Some(key), Some(value)) = (rest.next(), rest.next()) {
                pairs.push((key, value));
            }
            Kind::Map(pairs)
        } else {
            Kind::Sequence(children)
        };
        self.add(Node { at, kind, weight, bytes }, anchor)
    }

    fn take(&mut self, event: Event<'_>, start: usize, end: usize) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let bytes = text.len();
                let scalar = Scalar { text: text.into_owned(), style, start, end };
                let kind = Kind::Scalar(Rc::new(scalar));
                self.add(Node { at: start, kind, weight: 1, bytes }, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(start, anchor, false),
            Event::MappingStart(_, anchor, _) => self.begin(start, anchor, true),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, start),
            // Stream and document marks; all documents are read alike.
            _ => Ok(()),
        }
    }
}

/// Reads all documents of `text`. A fault ends the reading; the documents before it are given, and
/// of the one it stands in those items of the outermost sequence that were complete.
pub(crate) fn parse(text: &str) -> (Vec<Node>, Option<Fault>) {
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut builder = Builder::default();
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => {
                let start = span.start.byte_offset().unwrap_or(0);
                let end = span.end.byte_offset().unwrap_or(start);
                builder.take(event, start, end)
            }
            Err(error) => Err(Fault::new(
                error.marker().byte_offset().unwrap_or(0),
                format!("not valid YAML: {}", error.info()),
                "check quotes, brackets and indentation here and just before",
            )),
        };
        if let Err(fault) = step {
            let mut documents = builder.documents;
            if let Some(outermost) = builder.open.into_iter().next().filter(|open| !open.map) {
                let kind = Kind::Sequence(outermost.children);
                documents.push(Node { at: outermost.at, kind, weight: 0, bytes: 0 });
            }
            return (documents, Some(fault));
        }
    }
    (builder.documents, None)
}
