//! One judgment of the canonical table to one ranking.

use super::Ranking;
use crate::fields::Fault;
use crate::labels::{Judgment, Kind, flag};
use crate::quarantine::Reason;

/// The ranking that a judgment is, or (inner error) why it is left out on purpose: its kind where nothing was compared, `single rating`, `reject-all`, `no weight`.
///
/// Ratings of several answers in one row are a ranking by score. A judgment flagged [`flag::REJECT_ALL`] whose answers are not told apart is left
/// out: that all are bad is not the same as that all are equally good, which is what ties would teach. Where it does order them it is a ranking.
pub(super) fn ranking(j: &Judgment) -> Result<Result<Ranking, &'static str>, Fault> {
    if !j.kind.compares() {
        return Ok(Err(j.kind.name()));
    }
    if j.kind == Kind::Rating && j.answers.len() < 2 {
        return Ok(Err("single rating"));
    }
    for (name, values) in [("score", &j.scores), ("worth", &j.worth)] {
        if let Some(i) = values.iter().flatten().position(|value| !value.is_finite()) {
            return Err((Reason::BadRanking, format!("the {name} of answer {} is no finite number", i + 1)));
        }
    }
    let ranks = j.order();
    let told_apart = ranks.as_ref().is_some_and(|ranks| ranks.iter().any(|rank| *rank > 1));
    if j.has(flag::REJECT_ALL) && !told_apart && j.worth.is_none() {
        return Ok(Err(flag::REJECT_ALL));
    }
    let Some(ranks) = ranks else {
        return Err((Reason::BadRanking, "neither ranks nor scores nor worth".to_string()));
    };
    if j.answers.len() < 2 {
        return Err((Reason::BadRanking, format!("{} judged answers; a ranking needs two", j.answers.len())));
    }
    if let Some(i) = j.answers.iter().position(|answer| answer.trim().is_empty()) {
        return Err((Reason::Empty, format!("answer {} is empty", i + 1)));
    }
    if j.prompt.iter().all(|turn| turn.content.trim().is_empty()) {
        return Err((Reason::Empty, "the prompt is empty".to_string()));
    }
    if j.weight == 0.0 {
        return Ok(Err("no weight")); // a judge whose word counts nothing
    }
    if !(j.weight > 0.0 && j.weight.is_finite()) {
        return Err((Reason::BadWeight, format!("weight {} is not positive", j.weight)));
    }
    Ok(Ok(Ranking {
        prompt: j.prompt.clone(),
        answers: j.answers.clone(),
        ranks,
        scores: j.scores.clone(),
        worth: j.worth.clone(),
        judge: j.judge.clone(),
        weight: j.weight,
        group: j.group.clone(),
        file: j.file.clone(),
        row: j.row,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Message;

    fn judgment(kind: Kind, answers: &[&str]) -> Judgment {
        Judgment::new(kind, vec![Message::new("user", "q")], answers.iter().map(|a| a.to_string()).collect())
    }

    #[test]
    fn ratings_in_one_row_are_a_ranking_and_a_single_one_is_not() {
        let mut rated = judgment(Kind::Rating, &["a", "b", "c"]);
        rated.scores = Some(vec![3.0, 5.0, 3.0]);
        assert_eq!(ranking(&rated).unwrap().unwrap().ranks, [2, 1, 2]);
        assert_eq!(ranking(&judgment(Kind::Rating, &["a"])), Ok(Err("single rating")));
        for kind in [Kind::Choice, Kind::Demonstration, Kind::Skipped, Kind::Open] {
            assert_eq!(ranking(&judgment(kind, &["a", "b"])), Ok(Err(kind.name())));
        }
    }

    #[test]
    fn rejecting_all_is_no_tie_but_an_order_stands() {
        let mut rejected = judgment(Kind::Ranking, &["a", "b"]);
        rejected.flags = vec![flag::REJECT_ALL.to_string()];
        assert_eq!(ranking(&rejected), Ok(Err(flag::REJECT_ALL)));
        rejected.ranks = Some(vec![1, 1]);
        assert_eq!(ranking(&rejected), Ok(Err(flag::REJECT_ALL)));
        rejected.ranks = Some(vec![4, 2]);
        assert_eq!(ranking(&rejected).unwrap().unwrap().ranks, [2, 1]);
        rejected.flags.clear();
        rejected.ranks = Some(vec![1, 1]);
        assert_eq!(ranking(&rejected).unwrap().unwrap().ranks, [1, 1], "a tie without the flag is a tie");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let fault = |change: &dyn Fn(&mut Judgment)| {
            let mut j = judgment(Kind::Ranking, &["a", "b"]);
            j.ranks = Some(vec![1, 2]);
            change(&mut j);
            ranking(&j).unwrap_err()
        };
        assert_eq!(fault(&|j| j.ranks = None).0, Reason::BadRanking);
        assert_eq!(fault(&|j| j.scores = Some(vec![1.0, f32::NAN])).1, "the score of answer 2 is no finite number");
        assert_eq!(fault(&|j| j.answers[1] = " ".into()).0, Reason::Empty);
        assert_eq!(fault(&|j| j.prompt.clear()).0, Reason::Empty);
        assert_eq!(fault(&|j| j.weight = -1.0).0, Reason::BadWeight);
        assert_eq!(fault(&|j| j.weight = f32::INFINITY).0, Reason::BadWeight);
        assert_eq!(fault(&|j| j.answers.truncate(1)).0, Reason::BadRanking);
    }
}
