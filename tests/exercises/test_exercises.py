"""Each check lets the right solution pass, and tells each typical wrong one, by a part of its sentence."""

import itertools
import math

import pandas as pd
import pytest
import torch

import btsee_exercises as exercises
from btsee_lib.calibration import confidence_and_class
from btsee_lib.cascade import simulate
from btsee_lib.cost import CostModel

INF, NAN = torch.inf, torch.nan


def pair(clarity, cheap, strong, share):
    answers = strong.clone()
    clearest = clarity.argsort(descending=True)[: int(share * len(clarity))]
    answers[clearest] = cheap[clearest]
    return answers


def pair_unclear(clarity, cheap, strong, share):
    return pair(-clarity, cheap, strong, share)


def pair_by_threshold(clarity, cheap, strong, share):
    return torch.where(clarity > share, cheap, strong)


def pair_from_the_end(clarity, cheap, strong, share):
    answers = strong.clone()
    clearest = clarity.argsort()[-int(share * len(clarity)) :]
    answers[clearest] = cheap[clearest]
    return answers


def pair_of_rounded_share(clarity, cheap, strong, share):
    return pair(clarity, cheap, strong, round(share * len(clarity)) / len(clarity))


def pair_of_share_rounded_up(clarity, cheap, strong, share):
    return pair(clarity, cheap, strong, math.ceil(share * len(clarity)) / len(clarity))


def pair_of_all_equals(clarity, cheap, strong, share):
    number = int(share * len(clarity))
    lowest = clarity.sort(descending=True).values[number - 1] if number else INF
    return torch.where(clarity >= lowest, cheap, strong)


def pair_by_topk(clarity, cheap, strong, share):
    clearest = clarity.topk(int(share * len(clarity))).indices
    return strong.scatter(0, clearest, cheap[clearest])


def pair_of_the_last_of_equals(clarity, cheap, strong, share):
    return pair(clarity.flip(0), cheap.flip(0), strong.flip(0), share).flip(0)


def pair_in_place(clarity, cheap, strong, share):
    clearest = clarity.argsort(descending=True)[: int(share * len(clarity))]
    strong[clearest] = cheap[clearest]
    return strong


def pair_as_floats(*arguments):
    return pair(*arguments).float()


def leaks(first, second):
    known = {tuple(image.flatten().tolist()) for image in first}
    return [position for position, image in enumerate(second) if tuple(image.flatten().tolist()) in known]


def leaks_by_position(first, second):
    return [n for n, (a, b) in enumerate(zip(first, second, strict=False)) if torch.equal(a, b)]


def leaks_by_sum(first, second):
    return [n for n, image in enumerate(second) if image.sum() in [each.sum() for each in first]]


def leaks_once(first, second):
    return [
        next(n for n, b in enumerate(second) if torch.equal(a, b))
        for a in first
        if (second == a).all((1, 2, 3)).any()
    ]


def leaks_within(first, second):
    both = [tuple(image.flatten().tolist()) for image in (*first, *second)]
    return [n - len(first) for n in range(len(first), len(both)) if both[n] in both[:n]]


def leaks_by_pair(first, second):
    return [n for n, b in enumerate(second) for a in first if torch.equal(a, b)]


def leaks_in_order_of_the_first(first, second):
    return list(dict.fromkeys(n for a in first for n, b in enumerate(second) if torch.equal(a, b)))


def leaks_as_tensor(first, second):
    return (second[:, None] == first[None]).flatten(2).all(2).any(1).nonzero()[:, 0]


def conv_macs(channels_in, channels_out, kernel, stride, padding, side):
    out = (side + 2 * padding - kernel) // stride + 1
    return out**2 * channels_out * channels_in * kernel**2


def conv_macs_of_input(channels_in, channels_out, kernel, stride, padding, side):
    return side**2 * channels_out * channels_in * kernel**2


def conv_macs_unpadded(channels_in, channels_out, kernel, stride, padding, side):
    return conv_macs(channels_in, channels_out, kernel, stride, 0, side)


def conv_macs_one_channel(channels_in, channels_out, kernel, stride, padding, side):
    return conv_macs(1, channels_out, kernel, stride, padding, side)


def conv_macs_rounded_up(channels_in, channels_out, kernel, stride, padding, side):
    out = -(-(side + 2 * padding - kernel) // stride) + 1
    return out**2 * channels_out * channels_in * kernel**2


def conv_macs_rounded(channels_in, channels_out, kernel, stride, padding, side):
    out = round((side + 2 * padding - kernel) / stride + 1)
    return out**2 * channels_out * channels_in * kernel**2


def conv_macs_rounded_before_the_first_place(channels_in, channels_out, kernel, stride, padding, side):
    out = round((side + 2 * padding - kernel) / stride) + 1
    return out**2 * channels_out * channels_in * kernel**2


def recall(predicted, labels, num_classes):
    return torch.stack([(predicted[labels == c] == c).double().mean() for c in range(num_classes)])


def precision(predicted, labels, num_classes):
    return recall(labels, predicted, num_classes)


def recall_of_nothing_is_zero(predicted, labels, num_classes):
    return recall(predicted, labels, num_classes).nan_to_num(0)


def recall_without_unnamed(predicted, labels, num_classes):
    found = recall(predicted, labels, num_classes)
    found[torch.bincount(predicted, minlength=num_classes) == 0] = NAN
    return found


def reduction(shares, stages, branches):
    spent = [sum(stages[: b + 1]) + sum(branches[: b + 1]) for b in range(len(stages))]
    return 1 - sum(p * s for p, s in zip(shares, spent, strict=True)) / sum(stages)


def reduction_in_percent(shares, stages, branches):
    return 100 * reduction(shares, stages, branches)


def reduction_without_branches(shares, stages, branches):
    return reduction(shares, stages, 0 * branches)


def reduction_with_its_own_branch_only(shares, stages, branches):
    own = [*branches, 0]
    spent = [sum(stages[: b + 1]) + own[b] for b in range(len(stages))]
    return 1 - sum(p * s for p, s in zip(shares, spent, strict=True)) / sum(stages)


def reduction_never_negative(shares, stages, branches):
    return max(reduction(shares, stages, branches), torch.tensor(0.0))


def survivors_of(confidence, predicted, thresholds):
    return confidence < thresholds[predicted]


def survivors_at_threshold(confidence, predicted, thresholds):
    return confidence <= thresholds[predicted]


def survivors_swapped(confidence, predicted, thresholds):
    return confidence >= thresholds[predicted]


def survivors_of_class_zero(confidence, predicted, thresholds):
    return confidence < thresholds[0]


def survivors_as_integers(*arguments):
    return survivors_of(*arguments).long()


def survivors_as_floats(*arguments):
    return survivors_of(*arguments).float()


def survivors_as_list(*arguments):
    return survivors_of(*arguments).tolist()


def further_fall(branch_right, backbone_right, survivors):
    falls = [each.double().mean() - each[survivors].double().mean() for each in (branch_right, backbone_right)]
    return 100 * (falls[0] - falls[1])


def further_fall_in_float32(branch_right, backbone_right, survivors):
    falls = [each.float().mean() - each[survivors].float().mean() for each in (branch_right, backbone_right)]
    return float(100 * (falls[0] - falls[1]))


def further_fall_as_share(*arguments):
    return further_fall(*arguments) / 100


def further_fall_unsigned(*arguments):
    return abs(further_fall(*arguments))


def further_fall_on_survivors_only(branch_right, backbone_right, survivors):
    return 100 * (backbone_right[survivors].double().mean() - branch_right[survivors].double().mean())


def boost_one_branch(reach, fit, calibrate, leaving):
    branch = fit(reach["train"])
    thresholds = calibrate(branch, reach["valid"])
    return {split: reach[split] & ~leaving(branch, thresholds, split) for split in reach}


def boost_on_all(reach, fit, calibrate, leaving):
    branch = fit(torch.ones_like(reach["train"]))
    thresholds = calibrate(branch, reach["valid"])
    return {split: reach[split] & ~leaving(branch, thresholds, split) for split in reach}


def boost_calibrated_on_all(reach, fit, calibrate, leaving):
    branch = fit(reach["train"])
    thresholds = calibrate(branch, torch.ones_like(reach["valid"]))
    return {split: reach[split] & ~leaving(branch, thresholds, split) for split in reach}


def boost_revives(reach, fit, calibrate, leaving):
    branch = fit(reach["train"])
    thresholds = calibrate(branch, reach["valid"])
    return {split: ~leaving(branch, thresholds, split) for split in reach}


def boost_in_place(reach, fit, calibrate, leaving):
    branch = fit(reach["train"])
    thresholds = calibrate(branch, reach["valid"])
    for split in reach:
        reach[split] &= ~leaving(branch, thresholds, split)
    return reach


def boost_forgets_to_return(reach, fit, calibrate, leaving):
    boost_one_branch(reach, fit, calibrate, leaving)


def boost_as_integers(*arguments):
    return {split: mask.long() for split, mask in boost_one_branch(*arguments).items()}


def boost_as_pair(*arguments):
    return tuple(boost_one_branch(*arguments).values())


def boost_as_tensor(*arguments):
    return torch.cat(boost_as_pair(*arguments))


def boost_for_another_split(*arguments):
    train, valid = boost_as_pair(*arguments)
    return {"train": train, "test": valid}


def boost_with_a_wrong_key(reach, fit, calibrate, leaving):
    branch = fit(reach["train"])
    thresholds = calibrate(branch, reach["valid"])
    return {split: reach[split] & ~leaving(branch, thresholds, split) for split in ("train", "validation")}


def boost_without_training(reach, fit, calibrate, leaving):
    return boost_one_branch(reach, lambda mask: 1, calibrate, leaving)


def threshold(confidence, correct, bar, min_support, above=lambda a, b: a >= b, first_miss=False, grouped=True):
    found, order = INF, confidence.argsort(descending=True, stable=True)
    sure, right = confidence[order].tolist(), correct[order].tolist()
    for number in range(1, len(sure) + 1):
        tied = grouped and number < len(sure) and sure[number] == sure[number - 1]
        met = above(sum(right[:number]) / number, bar)
        if not tied and met and number >= min_support:
            found = sure[number - 1]
        if first_miss and not met:
            break
    return found


def threshold_stops_early(*arguments):
    return threshold(*arguments, first_miss=True)


def threshold_above_the_bar(*arguments):
    return threshold(*arguments, above=lambda a, b: a > b)


def threshold_splits_equals(*arguments):
    return threshold(*arguments, grouped=False)


def threshold_without_support(confidence, correct, bar, min_support):
    return threshold(confidence, correct, bar, 1)


def threshold_above_support(confidence, correct, bar, min_support):
    return threshold(confidence, correct, bar, min_support + 1)


def threshold_highest(confidence, correct, bar, min_support):
    return confidence.max() if len(confidence) else INF


def threshold_unsorted(confidence, correct, bar, min_support):
    met = correct.double().cumsum(0) / torch.arange(1, len(correct) + 1) >= bar
    return confidence[met].min() if met.any() else INF


def shortfall(predicted, labels, bars):
    return 100 * (bars[predicted].double() - (predicted == labels).double()).mean()


def shortfall_as_share(*arguments):
    return shortfall(*arguments) / 100


def shortfall_by_class(predicted, labels, bars):
    kinds = predicted.unique()
    return 100 * torch.stack([bars[c] - (labels[predicted == c] == c).float().mean() for c in kinds]).mean()


def shortfall_never_negative(*arguments):
    return max(shortfall(*arguments), torch.tensor(0.0))


def shortfall_of_nothing_is_zero(*arguments):
    return torch.nan_to_num(shortfall(*arguments), 0)


def cascade(confidence, predicted, backbone_predicted, thresholds, leaves=lambda a, b: a >= b, backwards=True):
    labels = backbone_predicted.clone()
    exits = torch.full_like(labels, len(confidence))
    for b in reversed(range(len(confidence))) if backwards else range(len(confidence)):
        out = leaves(confidence[b], thresholds[b][predicted[b]])
        labels[out], exits[out] = predicted[b][out], b
    return labels, exits


def cascade_overruled(*arguments):
    return cascade(*arguments, backwards=False)


def cascade_above(*arguments):
    return cascade(*arguments, leaves=lambda a, b: a > b)


def cascade_from_one(*arguments):
    labels, exits = cascade(*arguments)
    return labels, exits + 1


def cascade_of_class_zero(confidence, predicted, backbone_predicted, thresholds):
    return cascade(confidence, predicted, backbone_predicted, thresholds[:, :1].expand_as(thresholds))


def cascade_swapped(*arguments):
    return cascade(*arguments)[::-1]


def cascade_of_branch_one(confidence, predicted, backbone_predicted, thresholds):
    return cascade(confidence, predicted, backbone_predicted, thresholds[:1].expand_as(thresholds))


def cascade_as_floats(*arguments):
    return tuple(each.float() for each in cascade(*arguments))


def cascade_with_float_exits(*arguments):
    labels, exits = cascade(*arguments)
    return labels, exits.float()


def cheapest_within(table, drop):
    allowed = table[table["valid_drop"] <= drop]
    return allowed["valid_reduction"].idxmax() if len(allowed) else None


def cheapest_on_test(table, drop):
    return cheapest_within(table.assign(valid_drop=table["drop"], valid_reduction=table["reduction"]), drop)


def cheapest_below(table, drop):
    allowed = table[table["valid_drop"] < drop]
    return allowed["valid_reduction"].idxmax() if len(allowed) else None


def cheapest_position(table, drop):
    allowed = table[table["valid_drop"] <= drop]
    return int(allowed["valid_reduction"].argmax()) if len(allowed) else None


def cheapest_or_error(table, drop):
    return table[table["valid_drop"] <= drop]["valid_reduction"].idxmax()


def cheapest_by_test_reduction(table, drop):
    return cheapest_within(table.assign(valid_reduction=table["reduction"]), drop)


def cheapest_by_test_drop(table, drop):
    return cheapest_within(table.assign(valid_drop=table["drop"]), drop)


def cheapest_of_largest_drop(table, drop):
    return cheapest_within(table.assign(valid_reduction=table["valid_drop"]), drop)


def cheapest_without_gains(table, drop):
    return cheapest_within(table[table["valid_drop"] >= 0], drop)


def cheapest_by_distance(table, drop):
    return cheapest_within(table.assign(valid_drop=table["valid_drop"].abs()), drop)


def cheapest_row(table, drop):
    return table.loc[cheapest_within(table, drop)]


def cheapest_rows(table, drop):
    return table[table["valid_drop"] <= drop]


def paired_interval(first, second, draws):
    differences = 100 * (first - second)[draws].double().mean(1)
    return tuple(torch.quantile(differences, torch.tensor([0.025, 0.975]).double()))


def unpaired_interval(first, second, draws):
    differences = 100 * (first[draws].double().mean(1) - second[draws.flip(0)].double().mean(1))
    return tuple(torch.quantile(differences, torch.tensor([0.025, 0.975]).double()))


def paired_interval_as_shares(first, second, draws):
    return [each / 100 for each in paired_interval(first, second, draws)]


def paired_interval_of_90(first, second, draws):
    differences = 100 * (first - second)[draws].double().mean(1)
    return tuple(torch.quantile(differences, torch.tensor([0.05, 0.95]).double()))


def paired_interval_by_order(first, second, draws):
    differences = (100 * (first - second)[draws].double().mean(1)).sort().values
    return differences[int(0.025 * len(draws))], differences[int(0.975 * len(draws))]


def leave_early(image, stages, branches, thresholds):
    feature_map = image
    for exit_number, (stage, branch) in enumerate(zip(stages, branches, strict=False)):
        feature_map = stage(feature_map)
        confidence, label = branch(feature_map)[0].softmax(0).max(0)
        if confidence >= thresholds[exit_number, label]:
            return int(label), exit_number
    return int(stages[-1](feature_map)[0].argmax()), len(branches)


def leave_after_all(image, stages, branches, thresholds):
    maps = list(itertools.accumulate(stages, lambda x, stage: stage(x), initial=image))[1:]
    return leave_early(image, [lambda _, each=each: each for each in maps], branches, thresholds)


def leave_by_logits(image, stages, branches, thresholds):
    feature_map = image
    for exit_number, branch in enumerate(branches):
        feature_map = stages[exit_number](feature_map)
        confidence, label = branch(feature_map)[0].max(0)
        if confidence >= thresholds[exit_number, label]:
            return int(label), exit_number
    return int(stages[-1](feature_map)[0].argmax()), len(branches)


def leave_by_class_zero(image, stages, branches, thresholds):
    return leave_early(image, stages, branches, thresholds[:, :1].expand_as(thresholds))


def leave_above(image, stages, branches, thresholds):
    return leave_early(image, stages, branches, thresholds + 1e-6)


def leave_from_the_image(image, stages, branches, thresholds):
    return leave_early(image, [lambda _, stage=stage: stage(image) for stage in stages], branches, thresholds)


def leave_by_thresholds_of_branch_one(image, stages, branches, thresholds):
    return leave_early(image, stages, branches, thresholds[:1].expand_as(thresholds))


def leave_by_any_class(image, stages, branches, thresholds):
    feature_map = image
    for exit_number, branch in enumerate(branches):
        feature_map = stages[exit_number](feature_map)
        probability = branch(feature_map)[0].softmax(0)
        if (probability >= thresholds[exit_number]).any():
            return int(probability.argmax()), exit_number
    return int(stages[-1](feature_map)[0].argmax()), len(branches)


def break_even(stages, branches):
    return [cost / sum(stages[number:]) for number, cost in enumerate(branches, start=1)]


def break_even_with_its_own(stages, branches):
    return [cost / sum(stages[number:]) for number, cost in enumerate(branches)]


def break_even_in_percent(stages, branches):
    return [100 * each for each in break_even(stages, branches)]


def break_even_at_most_one(stages, branches):
    return [min(each, torch.tensor(1.0)) for each in break_even(stages, branches)]


def unexplained(exits, others, gaps, tolerance):
    parted = (exits != others).nonzero()[:, 0]
    return int((gaps[exits.minimum(others)[parted], parted].abs() > tolerance).sum())


def unexplained_all(exits, others, gaps, tolerance):
    return int((exits != others).sum())


def unexplained_at_any_branch(exits, others, gaps, tolerance):
    return int(((exits != others) & (gaps.abs() > tolerance).any(0)).sum())


def unexplained_above(exits, others, gaps, tolerance):
    parted = (exits != others).nonzero()[:, 0]
    return int(((gaps[exits.minimum(others)[parted], parted] - tolerance).abs() > tolerance).sum())


def unexplained_below(exits, others, gaps, tolerance):
    return unexplained(exits, others, gaps, 0.99 * tolerance)


def unexplained_unless(explained):
    """Count who leaves elsewhere, but for those that a function of exits and of what is near explains."""

    def count(exits, others, gaps, tolerance):
        return int(((exits != others) & ~explained(exits, others, gaps.abs() <= tolerance)).sum())

    return count


def near_up_to(branches, near):
    return (near & (torch.arange(len(near))[:, None] <= branches)).any(0)


def near_at(branches, near):
    return near.gather(0, branches.clamp(max=len(near) - 1)[None])[0]


unexplained_if_near_anywhere = unexplained_unless(lambda exits, others, near: near.any(0))
unexplained_if_near_everywhere = unexplained_unless(lambda exits, others, near: near.all(0))
unexplained_up_to_the_later = unexplained_unless(lambda a, b, near: near_up_to(torch.maximum(a, b), near))
unexplained_up_to_the_earlier = unexplained_unless(lambda a, b, near: near_up_to(torch.minimum(a, b), near))
unexplained_at_the_later = unexplained_unless(lambda a, b, near: near_at(torch.maximum(a, b), near))
unexplained_at_exits = unexplained_unless(lambda exits, others, near: near_at(exits, near))
unexplained_at_others = unexplained_unless(lambda exits, others, near: near_at(others, near))
unexplained_at_exits_but_the_last = unexplained_unless(
    lambda exits, others, near: near_at(exits, near) | (exits == len(near))
)


def unexplained_without_abs(exits, others, gaps, tolerance):
    parted = (exits != others).nonzero()[:, 0]
    return int((gaps[exits.minimum(others)[parted], parted] > tolerance).sum())


def tail(images, times, share):
    order = times.argsort()
    return times[order][images[order].cumsum(0) >= share * images.sum()][0]


def tail_unsorted(images, times, share):
    return times[images.cumsum(0) >= share * images.sum()][0]


def tail_of_sorted_times(images, times, share):
    return times.sort().values[images.cumsum(0) >= share * images.sum()][0]


def tail_of_both_sorted(images, times, share):
    return times.sort().values[images.sort().values.cumsum(0) >= share * images.sum()][0]


def tail_above(images, times, share):
    order = times.argsort()
    return times[order][images[order].cumsum(0) > share * images.sum()][0]


def tail_of_exits(images, times, share):
    return times.quantile(share, interpolation="higher")


def weights(images, processes):
    return [len(range(rank, images, processes)) * processes / images for rank in range(processes)]


def weights_as_shares(images, processes):
    return [each / processes for each in weights(images, processes)]


def weights_all_equal(images, processes):
    return [1] * processes


def weights_rounded_down(images, processes):
    return [images // processes * processes / images] * processes


def changes_sides(confidence, thresholds):
    return (confidence.bfloat16().float() >= thresholds) != (confidence >= thresholds)


def changes_sides_both_rounded(confidence, thresholds):
    return (confidence.bfloat16() >= thresholds.bfloat16()) != (confidence >= thresholds)


def changes_sides_if_near(confidence, thresholds):
    return (confidence - thresholds).abs() < 0.00195


def changes_sides_above(confidence, thresholds):
    return (confidence > thresholds) != (confidence.bfloat16() > thresholds)


def changes_sides_as_integers(*arguments):
    return changes_sides(*arguments).int()


def soft_weights(excess, steepness):
    return torch.sigmoid(-steepness * excess).prod(0)


def soft_weights_turned(excess, steepness):
    return torch.sigmoid(steepness * excess).prod(0)


def soft_weights_of_the_last(excess, steepness):
    return torch.sigmoid(-steepness * excess)[-1]


def soft_weights_averaged(excess, steepness):
    return torch.sigmoid(-steepness * excess).mean(0)


def soft_weights_without_steepness(excess, steepness):
    return torch.sigmoid(-10 * excess).prod(0)


def soft_weights_of_some_branch(excess, steepness):
    weights = torch.sigmoid(-steepness * excess[0])
    for each in excess[1:]:
        weights = weights * torch.sigmoid(-steepness * each)
    return weights


def soft_weights_by_exp(excess, steepness):
    return (1 / (1 + torch.exp(steepness * excess))).prod(0)


def may_be_best(low):
    return [j for j in range(len(low)) if not (low[:, j] > 0).any()]


def may_be_best_by_row(low):
    return [i for i in range(len(low)) if (low[i] > 0).any()]


def may_be_best_at_zero(low):
    return [j for j in range(len(low)) if not (low[:, j] >= 0).any()]


def may_be_best_only_if_ahead_of_all(low):
    return [i for i in range(len(low)) if (low[i][~low[i].isnan()] > 0).all()]


def may_be_best_of_those_in_the_race(low):
    race = list(range(len(low)))
    for j in range(len(low)):
        if any(low[i, j] > 0 for i in race):
            race.remove(j)
    return race


def may_be_best_unless_beaten_by_one_that_may(low):
    beaten = (low > 0).any(0)
    return [j for j in range(len(low)) if not (low[~beaten, j] > 0).any()]


SOLUTIONS = {
    "pair": [pair, pair_by_topk, pair_of_the_last_of_equals],
    "leaks": [leaks, leaks_as_tensor],
    "conv_macs": [conv_macs],
    "recall": [recall],
    "reduction": [reduction],
    "survivors": [survivors_of],
    "further_fall": [further_fall, further_fall_in_float32],
    "boost_one_branch": [boost_one_branch],
    "threshold": [threshold],
    "shortfall": [shortfall],
    "cascade": [cascade],
    "cheapest": [cheapest_within],
    "paired_interval": [paired_interval],
    "leave_early": [leave_early],
    "break_even": [break_even],
    "unexplained": [unexplained],
    "tail": [tail],
    "weights": [weights],
    "changes_sides": [changes_sides],
    "soft_weights": [soft_weights, soft_weights_by_exp],
    "may_be_best": [may_be_best],
}
WRONG = {
    "pair": {
        pair_unclear: "the clearest half takes the cheap answer",
        pair_by_threshold: "no threshold",
        pair_from_the_end: "a share of 0",
        pair_of_rounded_share: "yours returns [1, 2, 1, 2], wanted [1, 2, 2, 2]: int(0.45 * 4) is 1",
        pair_of_share_rounded_up: "int(0.45 * 4) is 1",
        pair_of_all_equals: "two of four leave",
        pair_in_place: "yours changes its argument 3: work on a copy",
        pair_as_floats: "of type torch.float32, wanted a tensor of type torch.int64",
    },
    "leaks": {
        leaks_by_position: "at another position",
        leaks_by_sum: "pixel for pixel",
        leaks_once: "every copy counts",
        leaks_within: "nothing of the first set has leaked",
        leaks_by_pair: "yours returns [1, 1], wanted [1]: each position stands in the list once",
        leaks_in_order_of_the_first: "yours returns [2, 0], wanted [0, 2]: the positions are wanted ascending",
    },
    "conv_macs": {
        conv_macs_of_input: "pixels of the output",
        conv_macs_unpadded: "for one channel",
        conv_macs_one_channel: "reads every input channel",
        conv_macs_rounded_up: "a rest of a step",
        conv_macs_rounded: "yours returns 144, wanted 81: a rest of a step gives no pixel",
        conv_macs_rounded_before_the_first_place: "yours returns 81, wanted 36: a rest of a step",
    },
    "recall": {
        precision: "not by the answers",
        recall_of_nothing_is_zero: "0 of 0",
        recall_without_unnamed: "yours returns [1, nan], wanted [1, 0]: none of its images is found",
    },
    "reduction": {
        reduction_in_percent: "yours returns 37.5, wanted 0.375",
        reduction_without_branches: "yours returns 0.375, wanted 0.125: whoever goes on has paid",
        reduction_with_its_own_branch_only: "yours returns 0.25, wanted 0.125: whoever goes on has paid",
        reduction_never_negative: "branches then only cost",
    },
    "survivors": {
        survivors_at_threshold: "who reaches it leaves",
        survivors_swapped: "true is who stays",
        survivors_of_class_zero: "of the class that is named",
        survivors_as_integers: "of type torch.int64, wanted a tensor of type torch.bool",
        survivors_as_floats: "of type torch.float32, wanted a tensor of type torch.bool",
        survivors_as_list: "of type bool, wanted a tensor of type torch.bool",
    },
    "further_fall": {
        further_fall_as_share: "yours returns 0.25, wanted 25",
        further_fall_unsigned: "then it is below zero",
        further_fall_on_survivors_only: "the branch falls by 50 points",
    },
    "boost_one_branch": {
        boost_on_all: "(trained on) yours returns [True, True, True, True, True], wanted [True, True",
        boost_calibrated_on_all: "only validation images that reach",
        boost_revives: "who reached the branch and does not leave",
        boost_in_place: "make new masks",
        boost_forgets_to_return: "yours returns nothing: a return seems to be missing",
        boost_as_integers: "of type torch.int64, wanted a tensor of type torch.bool",
        boost_as_pair: "wanted [False, True, True, False, True, True, False, False, True, True]",
        boost_as_tensor: "yours returns tensor([False,",
        boost_for_another_split: "yours returns {'train': tensor([False,",
        boost_with_a_wrong_key: "(handed on: training, then validation) yours stops with",
        boost_without_training: "(trained on) yours returns [], wanted [True",
    },
    "threshold": {
        threshold_stops_early: "the first miss does not end the search",
        threshold_above_the_bar: "just reached is met",
        threshold_splits_equals: "yours returns 0.8, wanted 0.9: equal confidences stand or fall together",
        threshold_without_support: "fewer than min_support",
        threshold_above_support: "min_support itself is enough",
        threshold_highest: "the lowest that meets the bar",
        threshold_unsorted: "in whatever order",
    },
    "shortfall": {
        shortfall_as_share: "yours returns 0.2, wanted 20",
        shortfall_by_class: "each image weighs the same",
        shortfall_never_negative: "more than kept is below zero",
        shortfall_of_nothing_is_zero: "a mean of nothing",
    },
    "cascade": {
        cascade_overruled: "the first one that is sure decides",
        cascade_above: "who reaches it leaves",
        cascade_from_one: "they count from 0",
        cascade_of_class_zero: "of the class that is named",
        cascade_swapped: "yours returns [[0, 2], [1, 0]], wanted [[1, 0], [0, 2]]: labels first",
        cascade_of_branch_one: "each branch has thresholds of its own",
        cascade_as_floats: "of type torch.float32, wanted a tensor of type torch.int64",
        cascade_with_float_exits: "of type torch.float32, torch.int64, wanted a tensor of type torch.int64",
    },
    "cheapest": {
        cheapest_on_test: "yours returns 10, wanted 11: of rows 10 to 12",
        cheapest_below: "a drop of 0.5 is within 0.5",
        cheapest_position: "yours returns 1, wanted 11",
        cheapest_or_error: "index=[10, 11, 12, 13]), 0.1) yours stops with ValueError",
        cheapest_by_test_reduction: "yours returns 10, wanted 11: of rows 10 to 12",
        cheapest_by_test_drop: "yours returns 12, wanted 11: choose by the columns of valid",
        cheapest_of_largest_drop: "(pd.DataFrame({'valid_drop': [0.2, 0.5, 0.8, 3.0], 'valid_reduction'",
        cheapest_without_gains: "yours returns 11, wanted 10: a drop below zero is a gain",
        cheapest_by_distance: "yours returns 11, wanted 10: a drop below zero is a gain",
        cheapest_row: "Name: 11, dtype: [...], wanted 11: of rows 10 to 12",
        cheapest_rows: "yours returns pd.DataFrame({'valid_drop': [0.2, 0.5, 0.8], ",
    },
    "paired_interval": {
        unpaired_interval: "both must see the same draw",
        paired_interval_as_shares: "wanted [2.5, 97.5]",
        paired_interval_of_90: "the 2.5th and the 97.5th",
        paired_interval_by_order: "percentile are interpolated between them",
    },
    "leave_early": {
        leave_after_all: "yours returns [1, 0, 0, 1, 2], wanted [1, 0, 0]: branch 1 is sure",
        leave_by_logits: "a softmax probability",
        leave_by_class_zero: "of the class that is named",
        leave_above: "who reaches it leaves",
        leave_from_the_image: "yours returns [1, 2, 0, 0, 0], wanted [1, 2, 0, 1, 2]: no branch is sure",
        leave_by_thresholds_of_branch_one: "each branch has thresholds of its own",
        leave_by_any_class: "of the class that is named",
    },
    "break_even": {
        break_even_with_its_own: "saves the stages behind it, 2 + 2",
        break_even_in_percent: "yours returns [25, 50], wanted [0.25, 0.5]",
        break_even_at_most_one: "above 1 it never pays",
    },
    "unexplained": {
        unexplained_all: "rounding explains it",
        unexplained_at_any_branch: "rounding explains it",
        unexplained_if_near_anywhere: "yours returns 0, wanted 2: only the branch where the ways part",
        unexplained_if_near_everywhere: "yours returns 1, wanted 0: rounding explains it",
        unexplained_up_to_the_later: "yours returns 0, wanted 2: only the branch where the ways part",
        unexplained_up_to_the_earlier: "yours returns 1, wanted 2: only the branch where the ways part",
        unexplained_at_the_later: "yours returns 1, wanted 0: rounding explains it",
        unexplained_at_exits: "yours returns 1, wanted 0",
        unexplained_at_others: "yours returns 1, wanted 0",
        unexplained_at_exits_but_the_last: "yours returns 0, wanted 1: -0.3 is more than rounding moves",
        unexplained_without_abs: "yours returns 0, wanted 1: -0.3 is more than rounding moves",
        unexplained_above: "below the threshold counts as above it",
        unexplained_below: "within the tolerance means up to it",
    },
    "tail": {
        tail_unsorted: "sort the exits by their time first",
        tail_of_sorted_times: "yours returns 2, wanted 1: 80 of 100 leave within 1",
        tail_of_both_sorted: "90 of 100 are enough",
        tail_above: "at least means that 90 of 100 are enough",
        tail_of_exits: "90 of 100 are enough",
    },
    "weights": {
        weights_as_shares: "the average divides by 4 already",
        weights_all_equal: "one image more",
        weights_rounded_down: "one image more",
    },
    "changes_sides": {
        changes_sides_both_rounded: "the threshold stays what it is",
        changes_sides_if_near: "stays on its side",
        changes_sides_above: "yours returns [False, False], wanted [True, True]: who reaches",
        changes_sides_as_integers: "of type torch.int32, wanted a tensor of type torch.bool",
    },
    "soft_weights": {
        soft_weights_turned: "1 far below it and 0 far above it",
        soft_weights_of_the_last: "are multiplied",
        soft_weights_averaged: "are multiplied",
        soft_weights_without_steepness: "the steepness times the distance",
        soft_weights_of_some_branch: "for no earlier branch yours stops with IndexError",
    },
    "may_be_best": {
        may_be_best_by_row: "then each may be the best",
        may_be_best_at_zero: "zero is not ahead",
        may_be_best_only_if_ahead_of_all: "then each may be the best",
        may_be_best_of_those_in_the_race: "yours returns [0, 2], wanted [0]: position 1 is ahead of 2",
        may_be_best_unless_beaten_by_one_that_may: "yours returns [0, 2], wanted [0]: position 1 is ahead of 2",
    },
}


@pytest.fixture(scope="module")
def data(splits, features, cascade_case, independent, terms, backbone, request):
    """The arguments of each check behind the function, from a small experiment."""
    valid, test = features["valid"], features["test"]
    first = independent[0].logits["valid"]
    confidence, predicted = confidence_and_class(first)
    bars = terms.bars(-0.1)
    outputs = [cascade_case[name] for name in ("confidence", "predicted", "backbone_predicted", "thresholds")]
    logits = {b: independent[b - 1].logits for b in (1, 2)}
    everyone = {name: torch.ones(len(features[name])).bool() for name in ("train", "valid")}
    right = [each["test"].argmax(1) == test.labels for each in logits.values()]
    cost = CostModel((40, 30, 30, 60), (2, 2, 1))
    columns = ["valid_drop", "valid_reduction", "drop", "reduction", "training", "calibration", "accuracy"]
    rows = [(0.1 * n, 0.3 + 0.1 * n, 0.2, 0.5, "boosted", "survivors", 0.9) for n in range(4)]
    sure, named = outputs[0][0], outputs[1][0]
    exits, needed = simulate(*outputs).exit, outputs[3].gather(1, outputs[1])
    return {
        "pair": (sure, named, outputs[2]),
        "leaks": (splits.train.images[:20], splits.valid.images[:20]),
        "conv_macs": (backbone, 6),
        "recall": (valid.predicted, valid.labels, len(splits.classes)),
        "reduction": (torch.tensor([0.4, 0.3, 0.1, 0.2]), cost),
        "survivors": (confidence, predicted, outputs[3][0]),
        "further_fall": (*right, sure < 0.5),
        "boost_one_branch": (logits, {1: everyone, 2: everyone}, valid.labels, [-0.1, -0.1], terms),
        "threshold": (confidence, predicted, valid.labels, bars, 5),
        "shortfall": (named, test.labels, bars),
        "cascade": tuple(outputs),
        "cheapest": (pd.DataFrame(rows, columns=columns), [0.15, 0.3, -1]),
        "paired_interval": tuple(each.numpy() for each in right),
        "leave_early": (request.getfixturevalue("cascade"), splits.normalise(splits.test.images[:5])),
        "break_even": (cost,),
        "unexplained": (exits, simulate(outputs[0] - 0.02, *outputs[1:]).exit, outputs[0] - needed),
        "tail": ([40, 30, 10, 20], [1.0, 1.5, 2.5, 2.0]),
        "weights": (10, 4),
        "changes_sides": (sure, outputs[3][0][named]),
        "soft_weights": (torch.linspace(-1, 1, 40).view(2, 20), 5.0),
        "may_be_best": (torch.tensor([[NAN, 0.1, -0.1], [-0.2, NAN, -0.3], [-0.1, 0.2, NAN]]),),
    }


def told(function, exercise, data, capsys):
    getattr(exercises, f"check_{exercise}")(function, *data[exercise])
    (line,) = capsys.readouterr().out.splitlines()
    return line


def cases_of(table):
    return [(exercise, function) for exercise, functions in table.items() for function in functions]


def test_every_check_has_its_solutions_and_wrong_ones():
    checks = {name.removeprefix("check_") for name in exercises.__all__}
    assert set(SOLUTIONS) == set(WRONG) == checks
    assert all(len(wrong) >= 2 for wrong in WRONG.values())


@pytest.mark.parametrize(("exercise", "function"), cases_of(SOLUTIONS))
def test_the_right_solution_passes(exercise, function, data, capsys):
    assert f"{function.__name__} is right in all " in told(function, exercise, data, capsys)


@pytest.mark.parametrize(("exercise", "function"), cases_of(WRONG))
def test_a_wrong_solution_is_told_what_is_wrong(exercise, function, data, capsys):
    line, reason = told(function, exercise, data, capsys), WRONG[exercise][function]
    assert line.startswith(f"{function.__name__} is wrong: ")
    assert reason in line


@pytest.mark.parametrize("exercise", SOLUTIONS)
def test_an_unwritten_solution_stops_nothing(exercise, data, capsys):
    def stub(*arguments): ...

    assert told(stub, exercise, data, capsys).startswith("stub is not written yet")


@pytest.mark.parametrize("exercise", SOLUTIONS)
def test_what_is_no_function_stops_nothing(exercise, data, capsys):
    assert told([1, 2], exercise, data, capsys).startswith("[1, 2] is no function: ")


@pytest.mark.parametrize("exercise", SOLUTIONS)
def test_a_forgotten_return_is_told_from_a_stub(exercise, data, capsys):
    def mine(*arguments):
        SOLUTIONS[exercise][0](*arguments)

    assert told(mine, exercise, data, capsys).endswith("yours returns nothing: a return seems to be missing.")


def test_what_is_right_on_small_cases_only_fails_on_the_data_of_the_notebook(data, capsys):
    def by_heart(confidence, predicted, thresholds):
        return survivors_of(confidence, predicted, thresholds) if len(confidence) < 3 else confidence < 0

    assert "for branch 1 on valid yours differs at" in told(by_heart, "survivors", data, capsys)
