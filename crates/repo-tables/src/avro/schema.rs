//! The writer's schema as a flat list of types, so that a recursive one costs no recursion to keep.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Error, Result, SCHEMA_MAX, SCHEMA_TYPES_MAX};

/// A type's place in the schema.
pub(super) type TypeId = usize;

#[derive(Debug, Clone)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum,
    Array(TypeId),
    Map(TypeId),
    Union(Vec<TypeId>),
    Record(Vec<Field>),
}

#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    /// The attribute `field-id` by which table formats know a field.
    pub(super) id: Option<i32>,
    pub(super) of: TypeId,
}

/// What a writer said its records are.
#[derive(Debug, Clone)]
pub struct Schema {
    types: Vec<Type>,
    root: TypeId,
}

impl Schema {
    /// Reads a schema in JSON.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > SCHEMA_MAX {
            return Err(Error::TooLarge {
                what: "an avro schema",
                max: SCHEMA_MAX as u64,
            });
        }
        // Its own limit on nesting is what bounds the recursion below.
        let value: Value =
            serde_json::from_slice(json).map_err(|error| Error::Schema(error.to_string()))?;
        let mut parser = Parser::default();
        let root = parser.of(&value, "")?;
        Ok(Self {
            types: parser.types,
            root,
        })
    }

    pub(super) fn root(&self) -> TypeId {
        self.root
    }

    pub(super) fn get(&self, id: TypeId) -> &Type {
        &self.types[id]
    }
}

#[derive(Default)]
struct Parser {
    types: Vec<Type>,
    named: HashMap<String, TypeId>,
}

impl Parser {
    fn push(&mut self, of: Type) -> Result<TypeId> {
        if self.types.len() >= SCHEMA_TYPES_MAX {
            return Err(Error::Schema(format!("more than {SCHEMA_TYPES_MAX} types")));
        }
        self.types.push(of);
        Ok(self.types.len() - 1)
    }

    fn of(&mut self, value: &Value, namespace: &str) -> Result<TypeId> {
        match value {
            Value::String(name) => self.primitive_or_named(name, namespace),
            Value::Array(branches) => {
                let branches: Result<Vec<_>> = branches
                    .iter()
                    .map(|branch| self.of(branch, namespace))
                    .collect();
                self.push(Type::Union(branches?))
            }
            Value::Object(object) => self.complex(object, namespace),
            _ => Err(Error::Schema(
                "a type is neither name nor definition".to_owned(),
            )),
        }
    }

    fn primitive_or_named(&mut self, name: &str, namespace: &str) -> Result<TypeId> {
        let of = match name {
            "null" => Type::Null,
            "boolean" => Type::Boolean,
            "int" => Type::Int,
            "long" => Type::Long,
            "float" => Type::Float,
            "double" => Type::Double,
            "bytes" => Type::Bytes,
            "string" => Type::Text,
            _ => {
                let known = self.named.get(&full(name, namespace));
                let known = known.or_else(|| self.named.get(name));
                return known.copied().ok_or_else(|| unknown(name));
            }
        };
        self.push(of)
    }

    fn complex(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<TypeId> {
        let of = match object.get("type") {
            Some(Value::String(of)) => of.as_str(),
            // A definition wrapped in one that only adds attributes.
            Some(inner) => return self.of(inner, namespace),
            None => return Err(Error::Schema("a definition without a type".to_owned())),
        };
        match of {
            "record" | "error" => self.record(object, namespace),
            "enum" => self.name(object, namespace, Type::Enum),
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| Error::Schema("fixed without a size".to_owned()))?;
                self.name(object, namespace, Type::Fixed(size))
            }
            "array" => {
                let items = self.member(object, "items", namespace)?;
                self.push(Type::Array(items))
            }
            "map" => {
                let values = self.member(object, "values", namespace)?;
                self.push(Type::Map(values))
            }
            name => self.primitive_or_named(name, namespace),
        }
    }

    fn member(
        &mut self,
        object: &Map<String, Value>,
        key: &'static str,
        namespace: &str,
    ) -> Result<TypeId> {
        let member = object.get(key);
        let member = member.ok_or_else(|| Error::Schema(format!("a type without {key}")))?;
        self.of(member, namespace)
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<TypeId> {
        // Named before its fields are read: they may refer to it.
        let id = self.name(object, namespace, Type::Record(Vec::new()))?;
        let inside = namespace_of(object, namespace);
        let fields = object.get("fields").and_then(Value::as_array);
        let fields = fields.ok_or_else(|| Error::Schema("a record without fields".to_owned()))?;
        let mut read = Vec::with_capacity(fields.len());
        for field in fields {
            let name = field.get("name").and_then(Value::as_str);
            let name = name.ok_or_else(|| Error::Schema("a field without a name".to_owned()))?;
            let of = field.get("type");
            let of = of.ok_or_else(|| Error::Schema(format!("field {name:?} without a type")))?;
            let of = self.of(of, &inside)?;
            let field_id = field.get("field-id").and_then(Value::as_i64);
            read.push(Field {
                name: name.to_owned(),
                id: field_id.and_then(|id| i32::try_from(id).ok()),
                of,
            });
        }
        self.types[id] = Type::Record(read);
        Ok(id)
    }

    fn name(&mut self, object: &Map<String, Value>, namespace: &str, of: Type) -> Result<TypeId> {
        let name = object.get("name").and_then(Value::as_str);
        let name = name.ok_or_else(|| Error::Schema("a named type without a name".to_owned()))?;
        let within = namespace_of(object, namespace);
        let name = match name.rsplit_once('.') {
            Some(_) => name.to_owned(),
            None => full(name, &within),
        };
        let id = self.push(of)?;
        self.named.insert(name, id);
        Ok(id)
    }
}

/// The namespace that the types inside a named one have.
fn namespace_of(object: &Map<String, Value>, outer: &str) -> String {
    let name = object.get("name").and_then(Value::as_str);
    if let Some((namespace, _)) = name.and_then(|name| name.rsplit_once('.')) {
        return namespace.to_owned();
    }
    let own = object.get("namespace").and_then(Value::as_str);
    own.unwrap_or(outer).to_owned()
}

fn full(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn unknown(name: &str) -> Error {
    let name: String = name.chars().take(64).collect();
    Error::Schema(format!("unknown type {name:?}"))
}
