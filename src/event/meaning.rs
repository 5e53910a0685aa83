//! What one event means as a whole: its action, verdict, category and attack groups. Never looks at what an attacker
//! chooses.

use super::classify::{AttackGroup, Category, Verdict, classify_rule};
use super::emit::{Emit, MemberKey};
use super::fields::{KnownField, Object, RuleList};
use super::members::Members;
use super::rule_lists::RuleLists;
use super::top_level::action;

/// The meaning of an event.
pub(super) struct Meaning {
    pub(super) verdict: Verdict,
    pub(super) category: Category,
    pub(super) group: Option<AttackGroup>,
    groups: Vec<AttackGroup>,
    /// In lower case.
    pub(super) action: Vec<u8>,
}

impl Meaning {
    /// Reads it from the event's rules.
    pub(super) fn of(members: &Members<'_>, lists: &RuleLists) -> Self {
        let applied = members.source_text(KnownField::APPLIED_ACTION);
        let slow_post = members.source_text(KnownField::SLOW_POST_ACTION);
        let action = action(&applied, || lists.items(RuleList::Actions), &slow_post);

        let mut category = (!slow_post.is_empty()).then_some(Category::SlowPost);
        let mut groups = Vec::new();
        let mut acting_group = None;
        for rule in lists.each_rule() {
            let Some((of_rule, group)) = classify_rule(rule) else { continue };
            category = Some(category.map_or(of_rule, |known| known.min(of_rule)));
            let Some(group) = group else { continue };
            if !groups.contains(&group) {
                groups.push(group);
            }
            if acting_group.is_none() && rule.action.trim_ascii().eq_ignore_ascii_case(&action) {
                acting_group = Some(group);
            }
        }
        Self {
            verdict: Verdict::of(&action),
            category: category.unwrap_or_else(|| by_objects(members)),
            group: acting_group.or_else(|| groups.first().copied()),
            groups,
            action,
        }
    }

    /// Writes it into the `akamai` object.
    pub(super) fn write(&self, emit: &mut Emit<'_>) {
        emit.own("verdict", self.verdict.word());
        emit.own("category", self.category.word());
        if let Some(group) = self.group {
            emit.own("attack_group", group.word());
            emit.list(MemberKey::Known("attack_groups"), self.groups.iter().map(|group| group.word().as_bytes()));
        }
    }
}

/// The category of an event none of whose rules says one: by the objects that a protection adds.
fn by_objects(members: &Members<'_>) -> Category {
    if members.has(Object::UserRiskData) {
        Category::Ato
    } else if !members.source_text(KnownField::API_ID).is_empty() {
        Category::Api
    } else if members.has(Object::BotData) {
        Category::Bot
    } else {
        Category::Other
    }
}
