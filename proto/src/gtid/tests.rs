use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

type Outcome = Result<(), GtidError>;

fn set(text: &str) -> Result<GtidSet, GtidError> {
    text.replace("A:", &format!("{A}:"))
        .replace("B:", &format!("{B}:"))
        .parse()
}

fn shown(set: &GtidSet) -> String {
    set.to_string().replace(A, "A").replace(B, "B")
}

#[test]
fn texts_of_the_server_become_canonical() -> Outcome {
    for (text, canonical) in [
        ("", ""),
        (" \n", ""),
        (",", ""),
        ("A:1", "A:1"),
        ("A:1-1", "A:1"),
        ("A:1-5,\nB:7", "A:1-5,B:7"),
        ("B:7 , A:3-5:1-2", "A:1-5,B:7"),
        ("A:1:2:4", "A:1-2:4"),
        ("A:1,A:2", "A:1-2"),
        ("A : 1 - 3 : 5", "A:1-3:5"),
        ("A:1-5:upgrade:1-3", "A:1-5:upgrade:1-3"),
        ("A:Upgrade:1-3:4:b_2:9,A:1", "A:1:b_2:9:upgrade:1-4"),
        ("A:tag:1:tag:2", "A:tag:1-2"),
        ("A:9223372036854775806", "A:9223372036854775806"),
        ("A:1-9223372036854775806:9223372036854775805", "A:1-9223372036854775806"),
        ("A:1-5,", "A:1-5"),
    ] {
        // `A : 1` has a blank after the UUID.
        let parsed = set(&text.replace("A :", &format!("{A} :")))?;
        assert_eq!(shown(&parsed), canonical, "{text:?}");
        assert_eq!(set(&parsed.to_string())?, parsed);
    }
    assert_eq!(format!("{}:1", A.to_uppercase()).parse::<GtidSet>()?, set("A:1")?);
    Ok(())
}

#[test]
fn malformed_texts_are_errors() {
    for text in [
        "x",
        "1-5",
        "A:",
        "A:1-",
        "A:-1",
        "A:0",
        "A:0-5",
        "A:5-3",
        "A:1--2",
        "A:1-2-3",
        "A:+1",
        "A:1 2",
        "A::1",
        "A:1:",
        "A:tag",
        "A:1:tag",
        "A:tag:other:1",
        "A:9223372036854775807",
        "A:1-9223372036854775807",
        "A:99999999999999999999999",
        "A:1;B:1",
        "A:ta-g:1",
        "A:tägli:1",
        "A:1,x",
        "A:٣",
        "A:a23456789012345678901234567890123:1",
    ] {
        assert!(set(text).is_err(), "{text:?} was read as {:?}", set(text));
    }
    assert!(A.parse::<GtidSet>().is_err());
}

#[test]
fn algebra_of_small_sets() -> Outcome {
    let (left, right) = (set("A:1-10:20-30:t:1-5,B:1")?, set("A:5-22:t:3,B:2")?);
    assert_eq!(shown(&left.union(&right)), "A:1-30:t:1-5,B:1-2");
    assert_eq!(shown(&left.subtract(&right)), "A:1-4:23-30:t:1-2:4-5,B:1");
    assert_eq!(shown(&left.intersect(&right)), "A:5-10:20-22:t:3");
    assert!(left.contains(&set("A:2-3:25:t:5")?) && !left.contains(&right));
    assert!(left.contains(&GtidSet::new()) && GtidSet::new().contains(&GtidSet::new()));
    // A tag is a source of its own.
    assert!(!set("A:1-5")?.contains(&set("A:t:1")?));
    assert_eq!(left.count(), 10 + 11 + 5 + 1);
    assert_eq!(left.sources().count(), 2);
    assert_eq!(
        left.sources().next().map(|source| shown(&left.of(source))).as_deref(),
        Some("A:1-10:20-30:t:1-5")
    );
    Ok(())
}

#[test]
fn the_largest_numbers_do_not_overflow() -> Outcome {
    let all = set("A:1-9223372036854775806")?;
    let last = set("A:9223372036854775806")?;
    assert_eq!(all.count(), u128::from(LAST));
    assert_eq!(shown(&all.subtract(&last)), "A:1-9223372036854775805");
    assert_eq!(all.subtract(&last).union(&last), all);
    assert!(all.subtract(&all).is_empty() && all.contains(&last));
    let many: GtidSet = set("A:1-9223372036854775806:x:1-9223372036854775806,B:1-9223372036854775806")?;
    assert_eq!(many.count(), 3 * u128::from(LAST));
    Ok(())
}

#[test]
fn json_is_the_text() -> Result<(), serde_json::Error> {
    let json = format!("\"{A}:1-3\"");
    let set: GtidSet = serde_json::from_str(&json)?;
    assert_eq!(serde_json::to_string(&set)?, json);
    assert!(serde_json::from_str::<GtidSet>("\"x\"").is_err());
    Ok(())
}

/// One transaction of the model: source, tag, number.
type One = (u8, u8, u64);

fn text(model: &BTreeSet<One>) -> String {
    let one = |(source, tag, number): &One| {
        let source = if *source == 0 { A } else { B };
        let tag = ["", ":t", ":u_1"][usize::from(*tag)];
        format!("{source}{tag}:{number}")
    };
    model.iter().rev().map(one).collect::<Vec<_>>().join(",\n")
}

fn models() -> impl Strategy<Value = BTreeSet<One>> {
    let dense = (0..2u8, 0..3u8, 1..25u64);
    let ends = (0..2u8, 0..3u8, LAST - 4..=LAST);
    proptest::collection::btree_set(prop_oneof![9 => dense, 1 => ends], 0..60)
}

proptest! {
    #[test]
    fn agrees_with_plain_sets(a in models(), b in models()) {
        let (x, y): (GtidSet, GtidSet) = (text(&a).parse()?, text(&b).parse()?);
        let parsed = |model: BTreeSet<One>| text(&model).parse::<GtidSet>();
        prop_assert_eq!(x.union(&y), parsed(a.union(&b).copied().collect())?);
        prop_assert_eq!(x.subtract(&y), parsed(a.difference(&b).copied().collect())?);
        prop_assert_eq!(x.intersect(&y), parsed(a.intersection(&b).copied().collect())?);
        prop_assert_eq!(x.contains(&y), a.is_superset(&b));
        prop_assert_eq!(x.contains(&x.intersect(&y)), true);
        prop_assert_eq!(x.count(), a.len() as u128);
        prop_assert_eq!(x.is_empty(), a.is_empty());
        prop_assert_eq!(x.to_string().parse::<GtidSet>()?, x);
    }

    #[test]
    fn no_text_panics(text in "[0-9a-fA-F:,\\- tü]{0,60}") {
        if let Ok(set) = text.parse::<GtidSet>() {
            prop_assert_eq!(set.to_string().parse::<GtidSet>()?, set);
        }
    }

    #[test]
    fn no_text_after_a_uuid_panics(text in "[0-9:,\\- t_]{0,40}") {
        if let Ok(set) = format!("{A}:{text}").parse::<GtidSet>() {
            prop_assert_eq!(set.to_string().parse::<GtidSet>()?, set);
        }
    }
}
