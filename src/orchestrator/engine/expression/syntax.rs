//! The form of an expression, and its print. What `Display` writes parses to the same form.

use std::fmt;

/// An expression with its place: bytes from the start of the source.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// Where it starts.
    pub at: usize,
}

/// Places do not count.
impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// The kinds of expression. Chains are lists, not trees: `a.b.c…` and `a + b + …` may be long without being deep.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// `12`, `0xff`, `12L`.
    Int(i64),
    /// `1.5`, `1e3`, `2f`.
    Real(f64),
    /// `'it''s'`.
    Text(String),
    /// A name on its own: a property of what is looked at.
    Name(String),
    /// `#name`: a variable; `#root` and `#this` are the ones there are.
    Variable(String),
    /// `#name(…)`.
    Function(String, Vec<Expr>),
    /// `name(…)` on its own: a method of what is looked at.
    Call(String, Vec<Expr>),
    /// `T(java.lang.Math)`.
    Type(String),
    /// `new java.util.Date(…)`.
    New(String, Vec<Expr>),
    /// `{1, 2}`.
    List(Vec<Expr>),
    /// `{a: 1, 'b c': 2}`; `{:}` is the empty one.
    Map(Vec<(Expr, Expr)>),
    /// A value and what is asked of it, in turn.
    Chain(Box<Expr>, Vec<Link>),
    /// `-x`, `+x`, `!x`.
    Unary(Unary, Box<Expr>),
    /// Operators of one level, from left to right.
    Fold(Box<Expr>, Vec<(Binary, Expr)>),
    /// `a ? b : c`.
    Ternary(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `a ?: b`.
    Elvis(Box<Expr>, Box<Expr>),
}

/// What is asked of a value.
#[derive(Clone, Debug)]
pub struct Link {
    /// What.
    pub ask: Ask,
    /// `?.`: of null the answer is null.
    pub safe: bool,
    /// Where it starts.
    pub at: usize,
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        self.ask == other.ask && self.safe == other.safe
    }
}

/// What can be asked of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// `.name`.
    Name(String),
    /// `.name(…)`.
    Call(String, Vec<Expr>),
    /// `[…]`.
    Index(Box<Expr>),
    /// `.![…]`.
    Project(Box<Expr>),
    /// `.?[…]`, `.^[…]`, `.$[…]`.
    Select(Which, Box<Expr>),
}

/// Which elements a selection takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `?`.
    All,
    /// `^`.
    First,
    /// `$`.
    Last,
}

/// Operators before one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unary {
    /// `-`.
    Minus,
    /// `+`.
    Plus,
    /// `!`, `not`.
    Not,
}

/// Operators between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `||`, `or`.
    Or,
    /// `&&`, `and`.
    And,
    /// `==`, `eq`.
    Equal,
    /// `!=`, `ne`.
    NotEqual,
    /// `<`, `lt`.
    Less,
    /// `<=`, `le`.
    LessOrEqual,
    /// `>`, `gt`.
    Greater,
    /// `>=`, `ge`.
    GreaterOrEqual,
    /// `matches`.
    Matches,
    /// `between`.
    Between,
    /// `instanceof`.
    InstanceOf,
    /// `+`.
    Add,
    /// `-`.
    Subtract,
    /// `*`.
    Multiply,
    /// `/`, `div`.
    Divide,
    /// `%`, `mod`.
    Remainder,
    /// `^`.
    Power,
}

impl Binary {
    /// As it is printed and shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Matches => "matches",
            Self::Between => "between",
            Self::InstanceOf => "instanceof",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Power => "^",
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Null => f.write_str("null"),
            Kind::Bool(b) => write!(f, "{b}"),
            Kind::Int(n) => write!(f, "{n}"),
            Kind::Real(n) => write!(f, "{n:?}"),
            Kind::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Kind::Name(name) => f.write_str(name),
            Kind::Variable(name) => write!(f, "#{name}"),
            Kind::Function(name, arguments) => write!(f, "#{name}({})", List(arguments)),
            Kind::Call(name, arguments) => write!(f, "{name}({})", List(arguments)),
            Kind::Type(name) => write!(f, "T({name})"),
            Kind::New(name, arguments) => write!(f, "new {name}({})", List(arguments)),
            Kind::List(items) => write!(f, "{{{}}}", List(items)),
            Kind::Map(entries) if entries.is_empty() => f.write_str("{:}"),
            Kind::Map(entries) => {
                for (n, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}: {}", if n == 0 { "{" } else { ", " }, Inner(value))?;
                }
                f.write_str("}")
            }
            Kind::Chain(start, links) => {
                write!(f, "{}", Inner(start))?;
                links.iter().try_for_each(|link| write!(f, "{link}"))
            }
            Kind::Unary(op, inner) => {
                let sign = match op {
                    Unary::Minus => '-',
                    Unary::Plus => '+',
                    Unary::Not => '!',
                };
                write!(f, "{sign}{}", Inner(inner))
            }
            Kind::Fold(first, rest) => {
                write!(f, "{}", Inner(first))?;
                rest.iter().try_for_each(|(op, right)| write!(f, " {} {}", op.word(), Inner(right)))
            }
            Kind::Ternary(test, yes, no) => write!(f, "{} ? {} : {}", Inner(test), Inner(yes), Inner(no)),
            Kind::Elvis(value, other) => write!(f, "{} ?: {}", Inner(value), Inner(other)),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = if self.safe { "?." } else { "." };
        match &self.ask {
            Ask::Name(name) => write!(f, "{dot}{name}"),
            Ask::Call(name, arguments) => write!(f, "{dot}{name}({})", List(arguments)),
            Ask::Index(key) => write!(f, "{}[{key}]", if self.safe { dot } else { "" }),
            Ask::Project(each) => write!(f, "{dot}![{each}]"),
            Ask::Select(Which::All, test) => write!(f, "{dot}?[{test}]"),
            Ask::Select(Which::First, test) => write!(f, "{dot}^[{test}]"),
            Ask::Select(Which::Last, test) => write!(f, "{dot}$[{test}]"),
        }
    }
}

/// An operand: in parentheses unless it is one word or a chain.
struct Inner<'e>(&'e Expr);

impl fmt::Display for Inner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            Kind::Unary(..) | Kind::Fold(..) | Kind::Ternary(..) | Kind::Elvis(..) => write!(f, "({})", self.0),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Real(_)
            | Kind::Text(_)
            | Kind::Name(_)
            | Kind::Variable(_)
            | Kind::Function(..)
            | Kind::Call(..)
            | Kind::Type(_)
            | Kind::New(..)
            | Kind::List(_)
            | Kind::Map(_)
            | Kind::Chain(..) => write!(f, "{}", self.0),
        }
    }
}

/// Separated by commas.
struct List<'e>(&'e [Expr]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(n, item)| write!(f, "{}{item}", if n == 0 { "" } else { ", " }))
    }
}
