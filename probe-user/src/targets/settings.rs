//! What is set for a group, as text: to tell one configuration of it from another.

use super::Group;

impl Group {
    /// Its settings by the names that configurations give them, targets and name aside. Equal text, equal settings; of builds of another
    /// version it may be another.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        fn text(value: impl std::fmt::Debug) -> String {
            format!("{value:?}")
        }
        let shape = &self.shape;
        vec![
            ("interval", self.interval.to_string()),
            ("timeout", self.timeout.to_string()),
            ("probe", shape.kind.to_string()),
            ("size", text(shape.payload)),
            ("ttl", text(shape.ttl)),
            ("dscp", text(shape.dscp)),
            ("dont_fragment", text(shape.dont_fragment)),
            ("flows", text(self.flows)),
            ("family", self.family.name().into()),
            ("down_after", text(self.down_after)),
            ("up_after", text(self.up_after)),
            ("buckets", text(&self.buckets)),
            ("sum_by", text(&self.sum_by)),
            ("per_target", text(&self.per_target)),
            ("path", self.path.map_or("none".into(), |path| format!("{} over {} flows", path.interval, path.flows))),
        ]
    }
}
