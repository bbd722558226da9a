#include "context.h"

#include <algorithm>
#include <string>

#include "logger.h"
#include "problem.h"

namespace deltaport::device {

struct Graph {
  cudaGraphExec_t made;
  cudaStream_t stream;
};

namespace {

bool refused(const char* what, Problem* problem) {
  const std::string why = Logger::get().found("TensorRT does not say why");
  return fail(problem, what, why.c_str());
}

}  // namespace

Context* open_context(Queue* queue, int32_t profile, Problem* problem) {
  using nvinfer1::ExecutionContextAllocationStrategy;
  auto context = std::make_unique<Context>(Context{queue, nullptr});
  nvinfer1::ICudaEngine& engine = *queue->plan->engine;
  Logger::get().begin();
  context->made.reset(
      engine.createExecutionContext(ExecutionContextAllocationStrategy::kUSER_MANAGED));
  if (context->made == nullptr) {
    refused("TensorRT cannot run the plan", problem);
    return nullptr;
  }
  // Plans that tell their layers would tell them every step, too, to a profiler that is not there.
  context->made->setNvtxVerbosity(nvinfer1::ProfilingVerbosity::kNONE);
  context->made->setDeviceMemoryV2(queue->scratch, queue->scratch_bytes);
  if (!context->made->setOptimizationProfileAsync(profile, queue->stream)) {
    refused("the plan's profile cannot be chosen", problem);
    return nullptr;
  }
  return context.release();
}

void close_context(Context* context) { delete context; }

bool set_input(Context* context, const char* name, const Shape* shape, const void* address,
               Problem* problem) {
  Logger::get().begin();
  nvinfer1::Dims dims{};
  dims.nbDims = shape->rank;
  std::copy_n(shape->sizes, shape->rank, dims.d);
  return (context->made->setInputShape(name, dims) &&
          context->made->setInputTensorAddress(name, address)) ||
         refused(name, problem);
}

bool set_output(Context* context, const char* name, void* address, Problem* problem) {
  Logger::get().begin();
  return context->made->setOutputTensorAddress(name, address) || refused(name, problem);
}

bool enqueue(Context* context, Problem* problem) {
  Logger::get().begin();
  return context->made->enqueueV3(context->queue->stream) ||
         refused("a step failed", problem);
}

Graph* record(Context* context, Problem* problem) {
  constexpr const char* kWhat = "a step cannot be recorded";
  const cudaStream_t stream = context->queue->stream;
#if ENABLE_FEATURE_DISABLE_RUNTIME_ALLOCATION
  if (!context->made->isStreamCapturable(stream)) {
    fail(problem, kWhat, "it takes memory as it runs");
    return nullptr;
  }
#endif
  // Of this thread alone: others may take memory meanwhile.
  if (!succeed(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), kWhat, problem)) {
    return nullptr;
  }
  const bool enqueued = enqueue(context, problem);
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
  cudaGraphExec_t made = nullptr;
  const bool recorded = enqueued && succeed(ended, kWhat, problem) &&
                        succeed(cudaGraphInstantiate(&made, graph, 0), kWhat, problem);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();
  return recorded ? new Graph{made, stream} : nullptr;
}

bool launch(Graph* graph, Problem* problem) {
  return succeed(cudaGraphLaunch(graph->made, graph->stream), "a recorded step failed", problem);
}

void release_graph(Graph* graph) {
  cudaGraphExecDestroy(graph->made);
  delete graph;
}

}  // namespace deltaport::device
