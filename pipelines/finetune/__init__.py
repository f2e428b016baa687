"""Fine-tuning: a pretrained network trained on, by Lightning, so that a killed run ends with the same bits.

`step.finetune` is the whole of it. The order of the pictures, their crops and every draw are functions of the seed and
of a position (`draws`), so what a checkpoint must remember of them is two integers.
"""
