//! A machine for the pickles that `torch.save` writes.
//!
//! A pickle is a program for a stack machine: in Python it may name any function and call it. This machine knows tensors and plain data.
//! It calls nothing, and a program that names anything beyond [`known`] is refused at that name.
//!
//! Values live in one list and refer to each other by their place in it, so that neither nesting nor cycles cost anything here.
//! [`MAX_OPERATIONS`] bounds time and memory.

use std::collections::HashMap;

use super::element::{Element, Layout};

/// Most operations in one pickle, about 35 a tensor: a ViT-B with its optimizer has 20,000.
const MAX_OPERATIONS: usize = 1 << 21;
/// Most dimensions of a tensor.
const MAX_RANK: usize = 16;

/// Place of a value in [`Pickle::nodes`].
pub(super) type Id = usize;

/// A value.
#[derive(Debug)]
pub(super) enum Node {
    Int(i64),
    Text(String),
    /// A tuple or a list.
    Sequence(Vec<Id>),
    /// Also an `OrderedDict`.
    Dict(Vec<(Id, Id)>),
    /// A name that stands for a function or class.
    Name(Name),
    Storage(Storage),
    Tensor(Box<TensorRef>),
    /// None, truth values, fractions, bytes, sets and what [`Name::Ignored`] makes: nothing that tensors are built from.
    Other,
}

/// A function or class that a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    OrderedDict,
    /// Makes a tensor from storage, offset, shape and strides.
    Tensor,
    /// Marks a tensor as trainable.
    Parameter,
    /// Type of a storage.
    Storage(Element),
    /// Harmless data that often lies beside weights: it is left out.
    Ignored,
}

/// A run of elements, shared by tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage {
    /// A [`Node::Text`]: the name of its entry in the archive.
    pub(super) key: Id,
    pub(super) element: Element,
}

/// A tensor, by the place of its values.
#[derive(Debug, Clone)]
pub(super) struct TensorRef {
    pub(super) storage: Storage,
    pub(super) layout: Layout,
}

/// Why a pickle is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It names this function or class, which is no part of weights.
    Refused(String),
    /// It is damaged, or uses what `torch.save` does not.
    Malformed(String),
}

/// What a pickle holds.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Id,
}

/// Meaning of a name; none for everything that is to be refused.
fn known(module: &str, name: &str) -> Option<Name> {
    Some(match (module, name) {
        ("collections", "OrderedDict") => Name::OrderedDict,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Name::Tensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Name::Parameter,
        ("torch", "DoubleStorage") => Name::Storage(Element::F64),
        ("torch", "FloatStorage") => Name::Storage(Element::F32),
        ("torch", "HalfStorage") => Name::Storage(Element::F16),
        ("torch", "BFloat16Storage") => Name::Storage(Element::Bf16),
        ("torch", "LongStorage" | "IntStorage" | "ShortStorage" | "CharStorage" | "ByteStorage" | "BoolStorage") => Name::Storage(Element::Other),
        ("torch", "ComplexFloatStorage" | "ComplexDoubleStorage") => Name::Storage(Element::Other),
        ("torch", "Size" | "device") => Name::Ignored,
        ("torch", "float64" | "float32" | "float16" | "bfloat16" | "int64" | "int32" | "int16" | "int8" | "uint8" | "bool") => Name::Ignored,
        ("numpy", "dtype") | ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Name::Ignored,
        ("_codecs", "encode") => Name::Ignored, // how protocol 2 writes the bytes of a NumPy number
        ("argparse", "Namespace") => Name::Ignored,
        ("builtins" | "__builtin__", "set" | "frozenset") => Name::Ignored,
        _ => return None,
    })
}

/// Runs a pickle.
pub(super) fn run(bytes: &[u8]) -> Result<Pickle, Flaw> {
    let mut machine = Machine { bytes, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    for _ in 0..MAX_OPERATIONS {
        let [code] = machine.take_array()?;
        if code == b'.' {
            let root = machine.pop()?;
            return Ok(Pickle { nodes: machine.nodes, root });
        }
        machine.operation(code)?;
    }
    Err(malformed(format!("more than {MAX_OPERATIONS} operations")))
}

fn malformed(reason: impl Into<String>) -> Flaw {
    Flaw::Malformed(reason.into())
}

struct Machine<'a> {
    /// What is still to be run.
    bytes: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack; nothing below the last one is reached.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// One operation but the last; the names are those of Python's `pickletools`.
    fn operation(&mut self, code: u8) -> Result<(), Flaw> {
        match code {
            0x80 => match self.take_array()? {
                [0..=5] => {} // PROTO
                [version] => return Err(malformed(format!("protocol {version}, expected at most 5"))),
            },
            0x95 => drop(self.take_array::<8>()?), // FRAME
            // Numbers and constants.
            b'N' | 0x88 | 0x89 => self.push(Node::Other), // NONE, NEWTRUE, NEWFALSE
            b'G' => {
                self.take_array::<8>()?; // BINFLOAT
                self.push(Node::Other);
            }
            b'J' => {
                let value = i32::from_le_bytes(self.take_array()?); // BININT
                self.push(Node::Int(value.into()));
            }
            b'K' | b'M' => {
                let value = self.length(if code == b'K' { 1 } else { 2 })?; // BININT1, BININT2
                self.push(Node::Int(value as i64));
            }
            0x8a | 0x8b => {
                let length = self.length(if code == 0x8a { 1 } else { 4 })?; // LONG1, LONG4
                let node = long(self.take(length)?);
                self.push(node);
            }
            // Text and bytes.
            b'X' | 0x8c | 0x8d => {
                let length = self.length(width(code))?; // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8
                let text = str::from_utf8(self.take(length)?).map_err(|_| malformed("a text that is not UTF-8"))?;
                self.push(Node::Text(text.to_owned()));
            }
            b'T' | b'U' => {
                let length = self.length(width(code))?; // BINSTRING, SHORT_BINSTRING: texts of Python 2
                let node = str::from_utf8(self.take(length)?).map_or(Node::Other, |text| Node::Text(text.to_owned()));
                self.push(node);
            }
            b'B' | b'C' | 0x8e | 0x96 => {
                let length = self.length(width(code))?; // BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8
                self.take(length)?;
                self.push(Node::Other);
            }
            // Collections.
            b'(' => self.marks.push(self.stack.len()),            // MARK
            b')' | b']' => self.push(Node::Sequence(Vec::new())), // EMPTY_TUPLE, EMPTY_LIST
            b't' | b'l' => {
                let items = self.pop_to_mark()?; // TUPLE, LIST
                self.push(Node::Sequence(items));
            }
            0x85..=0x87 => {
                let mut items = (0..code - 0x84).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?; // TUPLE1 to TUPLE3
                items.reverse();
                self.push(Node::Sequence(items));
            }
            b'a' => {
                let item = self.pop()?; // APPEND
                self.extend(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_to_mark()?; // APPENDS, ADDITEMS
                self.extend(items)?;
            }
            b'}' => self.push(Node::Dict(Vec::new())), // EMPTY_DICT
            b'd' => {
                let items = self.pop_to_mark()?; // DICT
                self.push(Node::Dict(Vec::new()));
                self.set(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?); // SETITEM
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?; // SETITEMS
                self.set(&items)?;
            }
            0x8f => self.push(Node::Other), // EMPTY_SET
            0x91 => {
                self.pop_to_mark()?; // FROZENSET
                self.push(Node::Other);
            }
            // Stack and memo.
            b'0' => {
                // POP takes a mark where one is on top.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            b'1' => drop(self.pop_to_mark()?),    // POP_MARK
            b'2' => self.stack.push(self.top()?), // DUP
            b'q' | b'r' | 0x94 => {
                let key = if code == 0x94 { self.memo.len() } else { self.length(width(code))? }; // BINPUT, LONG_BINPUT, MEMOIZE
                self.memo.insert(key as u32, self.top()?);
            }
            b'h' | b'j' => {
                let key = self.length(width(code))?; // BINGET, LONG_BINGET
                let id = self.memo.get(&(key as u32)).ok_or_else(|| malformed(format!("nothing is remembered as {key}")))?;
                self.stack.push(*id);
            }
            // Names and what is made with them.
            b'c' => {
                let (module, name) = (self.line()?, self.line()?); // GLOBAL
                self.name(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?); // STACK_GLOBAL
                match (&self.nodes[module], &self.nodes[name]) {
                    (Node::Text(module), Node::Text(name)) => {
                        let (module, name) = (module.clone(), name.clone());
                        self.name(&module, &name)?;
                    }
                    _ => return Err(malformed("a name that is no text")),
                }
            }
            b'R' | 0x81 => {
                let (arguments, name) = (self.pop()?, self.pop()?); // REDUCE, NEWOBJ
                self.make(name, arguments)?;
            }
            b'b' => self.build()?, // BUILD
            b'Q' => {
                let key = self.pop()?; // BINPERSID
                let storage = self.storage(key)?;
                self.push(Node::Storage(storage));
            }
            _ => return Err(malformed(format!("operation 0x{code:02x}, which torch.save does not write"))),
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| malformed("it ends in the middle"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or_else(|| malformed("it ends in the middle"))?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// An unsigned number of this many bytes, at most 8.
    fn length(&mut self, bytes: usize) -> Result<usize, Flaw> {
        let mut wide = [0; 8];
        wide[..bytes].copy_from_slice(self.take(bytes)?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| malformed("a length beyond any memory"))
    }

    fn line(&mut self) -> Result<&'a str, Flaw> {
        let end = self.bytes.iter().position(|&b| b == b'\n').ok_or_else(|| malformed("a name without an end"))?;
        let line = self.take(end)?;
        self.take(1)?;
        str::from_utf8(line).map_err(|_| malformed("a name that is not UTF-8"))
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn top(&self) -> Result<Id, Flaw> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor.min(self.stack.len())..].last().copied().ok_or_else(|| malformed("a value is missing"))
    }

    fn pop(&mut self) -> Result<Id, Flaw> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Flaw> {
        let mark = self.marks.pop().ok_or_else(|| malformed("a mark is missing"))?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn extend(&mut self, items: Vec<Id>) -> Result<(), Flaw> {
        let target = self.top()?;
        match &mut self.nodes[target] {
            Node::Sequence(list) => list.extend(items),
            Node::Other => {}
            _ => return Err(malformed("items for something that is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Result<(), Flaw> {
        let target = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.nodes[target] {
            Node::Dict(dict) if rest.is_empty() => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Node::Other => {}
            _ => return Err(malformed("entries for something that is no dict")),
        }
        Ok(())
    }

    fn name(&mut self, module: &str, name: &str) -> Result<(), Flaw> {
        let known = known(module, name).ok_or_else(|| Flaw::Refused(format!("{module}.{name}").chars().take(200).collect()))?;
        self.push(Node::Name(known));
        Ok(())
    }

    /// What `name(*arguments)` makes; nothing is called.
    fn make(&mut self, name: Id, arguments: Id) -> Result<(), Flaw> {
        let Node::Sequence(arguments) = &self.nodes[arguments] else { return Err(malformed("arguments that are no tuple")) };
        match &self.nodes[name] {
            Node::Name(Name::OrderedDict) if arguments.is_empty() => self.push(Node::Dict(Vec::new())),
            Node::Name(Name::Tensor) => {
                let tensor = self.tensor(arguments)?;
                self.push(Node::Tensor(Box::new(tensor)));
            }
            Node::Name(Name::Parameter) => match arguments.first() {
                Some(&id) if matches!(self.nodes[id], Node::Tensor(_)) => self.stack.push(id),
                _ => return Err(malformed("a parameter without its tensor")),
            },
            Node::Name(Name::Ignored) => self.push(Node::Other),
            _ => return Err(malformed("a call of something that cannot be called")),
        }
        Ok(())
    }

    /// State given to an object: attributes of a dict (`_metadata`) and of ignored objects, which no tensor needs.
    fn build(&mut self) -> Result<(), Flaw> {
        self.pop()?;
        match self.nodes[self.top()?] {
            Node::Dict(_) | Node::Other => Ok(()),
            _ => Err(malformed("state for something that has none")),
        }
    }

    /// `('storage', type, key, location, elements)`; where it was, `cpu` or `cuda:0`, does not matter.
    fn storage(&self, key: Id) -> Result<Storage, Flaw> {
        let wrong = || malformed("a storage that is described in another way than torch.save does");
        let Node::Sequence(parts) = &self.nodes[key] else { return Err(wrong()) };
        let &[tag, kind, key, _location, _elements] = parts.as_slice() else { return Err(wrong()) };
        match (&self.nodes[tag], &self.nodes[kind], &self.nodes[key]) {
            (Node::Text(tag), Node::Name(Name::Storage(element)), Node::Text(_)) if tag == "storage" => Ok(Storage { key, element: *element }),
            _ => Err(wrong()),
        }
    }

    /// `(storage, offset, shape, strides, ...)`; whether it is trainable does not matter.
    fn tensor(&self, arguments: &[Id]) -> Result<TensorRef, Flaw> {
        let wrong = || malformed("a tensor that is described in another way than torch.save does");
        let &[storage, offset, shape, stride, ..] = arguments else { return Err(wrong()) };
        let Node::Storage(storage) = self.nodes[storage] else { return Err(wrong()) };
        let number = |id: Id| match self.nodes[id] {
            Node::Int(value) => usize::try_from(value).map_err(|_| wrong()),
            _ => Err(wrong()),
        };
        let numbers = |id: Id| match &self.nodes[id] {
            Node::Sequence(ids) if ids.len() <= MAX_RANK => ids.iter().map(|&id| number(id)).collect(),
            _ => Err(wrong()),
        };
        Ok(TensorRef { storage, layout: Layout { offset: number(offset)?, shape: numbers(shape)?, stride: numbers(stride)? } })
    }
}

/// Bytes of the length, or of the key, that follows an operation.
fn width(code: u8) -> usize {
    match code {
        0x8c | b'U' | b'C' | b'q' | b'h' => 1,
        0x8d | 0x8e | 0x96 => 8,
        _ => 4,
    }
}

/// A signed number of any length; one that an i64 cannot hold is no size of a tensor.
fn long(bytes: &[u8]) -> Node {
    if bytes.len() > 8 {
        return Node::Other;
    }
    let mut wide = if bytes.last().is_some_and(|b| b & 0x80 != 0) { [0xff; 8] } else { [0; 8] };
    wide[..bytes.len()].copy_from_slice(bytes);
    Node::Int(i64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_is_no_part_of_weights_is_refused() {
        // Once as GLOBAL of protocol 2, once as STACK_GLOBAL of protocol 4, once thrown away again before it could be seen.
        for program in [
            b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.".as_slice(),
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02ls\x85R.",
            b"cposix\nsystem\n0}.",
        ] {
            assert_eq!(run(program).unwrap_err(), Flaw::Refused("posix.system".into()));
        }
    }

    #[test]
    fn what_is_missing_on_the_stack_is_an_error() {
        for program in [b".".as_slice(), b"R.", b"(.", b"N(\x85.", b"h\x00.", b"t.", b"}(NNNu.", b"Ns.", b"Q.", b"NQ.", b"b.", b"\x80\x09N.", b"I1\n."] {
            assert!(matches!(run(program), Err(Flaw::Malformed(_))), "{program:?}");
        }
        // POP takes the mark: what is below is in reach again.
        assert!(run(b"N(0.").is_ok());
    }

    #[test]
    fn long_numbers_have_a_sign() {
        let value = |bytes: &[u8]| {
            let Pickle { nodes, root } = run(bytes).unwrap();
            if let Node::Int(value) = nodes[root] { Some(value) } else { None }
        };
        assert_eq!(value(b"\x8a\x00."), Some(0));
        assert_eq!(value(b"\x8a\x01\xff."), Some(-1));
        assert_eq!(value(b"\x8a\x02\xff\x00."), Some(255));
        assert_eq!(value(b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01."), None);
        assert_eq!(value(b"J\xfe\xff\xff\xff."), Some(-2));
    }

    #[test]
    fn a_length_beyond_the_end_takes_no_memory() {
        for program in [b"X\xff\xff\xff\xffab".as_slice(), b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffab", b"\x8b\xff\xff\xff\x7f"] {
            assert_eq!(run(program).unwrap_err(), Flaw::Malformed("it ends in the middle".into()));
        }
    }

    #[test]
    fn nesting_and_cycles_cost_nothing() {
        let deep = [vec![b')'], vec![0x85; 100_000], vec![b'.']].concat();
        assert!(run(&deep).is_ok());
        assert!(run(b"]q\x00h\x00a.").is_ok());
        assert!(run(&vec![b'N'; MAX_OPERATIONS + 1]).is_err());
    }

    proptest! {
        #[test]
        fn random_programs_never_panic(codes in proptest::collection::vec(proptest::sample::select(b"(.)]}tlaesud012NGJKMXUBCqrhjcRbQ\x80\x81\x85\x86\x87\x88\x8a\x8c\x93\x94\x8f\x90\x91\x00\x01\x02".to_vec()), 0..60)) {
            let _ = run(&codes);
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = run(&bytes);
        }
    }
}
