import torch
from configs import train_config

from engine.criterion import CrossEntropy, build_criterion

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]])
LABELS = torch.tensor([0, 2])


def test_the_loss_of_a_clip_is_worked_out_by_hand():
    losses = CrossEntropy()(LOGITS, LABELS)
    logs = LOGITS.double().exp().sum(1).log() - torch.tensor([2.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(losses.double(), logs, rtol=1e-6, atol=0)


def test_class_weights_and_label_smoothing_act_in_training_alone():
    criterion = CrossEntropy(torch.tensor([1.0, 1.0, 3.0]), label_smoothing=0.3)
    plain = CrossEntropy()(LOGITS, LABELS)
    assert torch.equal(criterion.eval()(LOGITS, LABELS), plain)
    logs = LOGITS.log_softmax(1)
    weights = torch.tensor([1.0, 1.0, 3.0])
    hard = -0.7 * weights[LABELS] * logs[[0, 1], LABELS]
    soft = -0.1 * (weights * logs).sum(1)
    torch.testing.assert_close(criterion.train()(LOGITS, LABELS), hard + soft)


def test_soft_targets_are_taken():
    targets = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
    expected = -(targets * LOGITS.log_softmax(1)).sum(1)
    torch.testing.assert_close(CrossEntropy()(LOGITS, targets), expected)


def test_classes_are_weighed_where_the_flag_says_so():
    weights = torch.tensor([1.0, 1.0, 3.0]).numpy()
    for balance in ("none", "sampler"):  # which draws rare classes more often instead
        assert build_criterion(train_config(balance=balance), weights).class_weights is None
    weighed = build_criterion(train_config(balance="loss", label_smoothing=0.2), weights)
    assert (weighed.class_weights.tolist(), weighed.label_smoothing) == ([1, 1, 3], 0.2)
