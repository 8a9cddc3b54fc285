//! Golden types captured from Apache Flink 2.3.0 (columns `i INT`, `d DECIMAL(10,2)`, `f DOUBLE`).
use super::*;
use crate::TypeKind;

fn check(function: Function, a: TypeKind, b: TypeKind, expected: &str) {
    let (a, b) = (a.nullable(), b.nullable());
    let got = match function.result_type(&[&a, &b]) {
        Ok(ty) => ty.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(got, expected, "{function} over {a} and {b}");
}

#[test]
fn arithmetic_types_are_flinks() {
    let decimal = |precision, scale| TypeKind::Decimal { precision, scale };
    let d = || decimal(10, 2);
    check(Function::Plus, d(), d(), "DECIMAL(11, 2)");
    check(Function::Times, d(), d(), "DECIMAL(21, 4)");
    check(Function::Divide, d(), d(), "DECIMAL(23, 13)");
    check(Function::Mod, d(), d(), "DECIMAL(10, 2)");
    check(
        Function::Times,
        TypeKind::Int,
        decimal(2, 1),
        "DECIMAL(13, 1)",
    );
    check(
        Function::Plus,
        TypeKind::Int,
        decimal(2, 1),
        "DECIMAL(12, 1)",
    );
    check(
        Function::Divide,
        TypeKind::Int,
        decimal(2, 1),
        "DECIMAL(17, 6)",
    );
    check(
        Function::Times,
        decimal(4, 3),
        TypeKind::BigInt,
        "DECIMAL(24, 3)",
    );
    check(Function::Divide, TypeKind::Int, TypeKind::BigInt, "BIGINT");
    check(Function::Times, TypeKind::Double, TypeKind::Int, "DOUBLE");
    check(Function::Plus, TypeKind::Float, TypeKind::Double, "FLOAT");
    check(
        Function::Plus,
        TypeKind::string(),
        TypeKind::Int,
        "cannot apply '+' to arguments of type '(STRING, INT)'",
    );
}

#[test]
fn text_and_numbers_do_not_compare() {
    check(
        Function::Equal,
        TypeKind::Char(1),
        TypeKind::Int,
        "cannot apply '=' to arguments of type '(CHAR(1), INT)'",
    );
    check(Function::Equal, TypeKind::Int, decimal_1_0(), "BOOLEAN");
}

fn decimal_1_0() -> TypeKind {
    TypeKind::Decimal {
        precision: 2,
        scale: 1,
    }
}

/// A row of one name, and every constant a row: `definition` may rely on it.
#[test]
fn every_function_has_one_row() {
    let mut seen = std::collections::HashSet::new();
    for row in Function::all() {
        for name in row.aliases.iter().chain([&row.name]) {
            assert!(seen.insert(*name), "{name} twice");
        }
        assert!(!row.takes.is_empty(), "{}", row.name);
    }
    for missing in MISSING {
        assert!(
            seen.insert(missing.name),
            "{} is there, or missing twice",
            missing.name
        );
    }
}

/// What earlier versions wrote into the plans of pipelines.
#[test]
fn names_of_stored_plans_are_read() {
    let stored = "Plus Minus Times Divide Mod Negate Abs Equal NotEqual Less LessOrEqual Greater GreaterOrEqual \
        IsDistinctFrom IsNotDistinctFrom IsNull IsNotNull IsTrue IsNotTrue IsFalse IsNotFalse And Or Not Coalesce NullIf \
        Upper Lower Trim TrimLeading TrimTrailing Substring Concat Append Like CharLength";
    for name in stored.split_whitespace() {
        let function = Function::try_from(name.to_string()).expect(name);
        let constants: String = function.key().split([' ', '_']).collect();
        assert_eq!(constants, name.to_ascii_uppercase());
        function.definition();
        let json = serde_json::to_string(&function).unwrap();
        assert_eq!(serde_json::from_str::<Function>(&json).unwrap(), function);
    }
    let unknown = Function::try_from("Frobnicate".to_string());
    assert_eq!(unknown, Err(UnknownFunction("Frobnicate".to_string())));
}
