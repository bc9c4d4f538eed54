#include "ops/recompute.h"

namespace fathom {

Tensor recomputed(Context& ctx, const Tensor& x, Recomputable f) {
  check(ctx.tape && ctx.training, "only training computes again");
  Context plain{.backend = ctx.backend, .profile = ctx.profile, .training = ctx.training, .adapter = ctx.adapter};
  const Tensor y = f(plain, x);
  // The rows of this forward: another one may have run when the backward comes here.
  ctx.tape->record(y, [x, f = std::move(f), &backend = ctx.backend, profile = ctx.profile, pass = ctx.training,
                       adapter = ctx.adapter, rows = ctx.training->rows](const Tensor& dy, Gradients& grads) {
    Tape tape;
    Context again{.backend = backend, .profile = profile, .tape = &tape, .training = pass, .adapter = adapter};
    pass->rows = rows;
    pass->recomputing = true;
    const Tensor y_again = f(again, x);
    pass->recomputing = false;
    tape.backward(y_again, dy, grads);
  });
  return y;
}

}  // namespace fathom
